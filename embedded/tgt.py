"""Keeps a node's tgtd in agreement with what must be served, by the difference to what was applied last."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from embedded import tgt_plan as plan
from embedded.served import ChapAccount, ServedTarget, Session
from embedded.tgt_process import Connection, TgtError

_log = logging.getLogger("embedded.tgt")


class Target(Protocol):
    """What is needed of a running tgtd."""

    def call(self, *words: str) -> str:
        """Run one tgtadm; TgtError if it fails."""

    def connections(self, tid: int) -> list[Connection]:
        """Give the connections to one target."""

    def sessions(self) -> tuple[Session, ...]:
        """Give who is logged in."""


@dataclass(slots=True)
class _Applied:
    """What tgtd was told of one target, as far as it succeeded."""

    tid: int
    accounts: set[tuple[str, bool]] = field(default_factory=set)
    acl: frozenset[tuple[str, object]] = frozenset()
    units: dict[int, plan.Unit] = field(default_factory=dict)
    serves: ServedTarget | None = None


class Applier:
    """Applies what must be served. It blocks, and is to be used from one thread at a time."""

    def __init__(self, tgtd: Target) -> None:
        self.tgtd = tgtd
        self._targets: dict[str, _Applied] = {}
        self._accounts: dict[str, str] = {}
        self._said: set[str] = set()
        self._says: set[str] = set()
        self._next_tid = 1

    def apply(self, wanted: Iterable[ServedTarget]) -> None:
        """Make tgtd serve this; what fails is logged and tried again next time."""
        targets = {target.iqn: target for target in wanted}
        self._says = set()
        for iqn in [iqn for iqn in self._targets if iqn not in targets]:
            self._attempt(iqn, plan.delete_target(self._targets[iqn].tid))
            del self._targets[iqn]
        self._make_accounts(targets.values())
        for target in targets.values():
            self._apply_target(target)
        self._drop_accounts(targets.values())
        self._said = self._says

    def _say(self, about: str, text: str) -> None:
        """Log a complaint, once for as long as it lasts."""
        line = f"{about}: {text}"
        if line not in self._said and line not in self._says:
            _log.warning("%s", line)
        self._says.add(line)

    def _attempt(self, about: str, *calls: plan.Call) -> bool:
        try:
            for call in calls:
                self.tgtd.call(*call)
        except TgtError as error:
            self._say(about, str(error))
            return False
        return True

    def _make_accounts(self, targets: Iterable[ServedTarget]) -> None:
        for user, secret in self._wanted_accounts(targets).items():
            if self._accounts.get(user) == secret:
                continue
            if user in self._accounts:
                self._remove_account(user)
            if self._attempt(f"account {user}", plan.new_account(ChapAccount(user, secret))):
                self._accounts[user] = secret

    def _wanted_accounts(self, targets: Iterable[ServedTarget]) -> dict[str, str]:
        wanted: dict[str, str] = {}
        for target in targets:
            for account in (*target.incoming, *([target.outgoing] if target.outgoing else [])):
                if wanted.setdefault(account.user, account.secret) != account.secret:
                    self._say(target.iqn, f"account {account.user} has two secrets, tgtd can hold one")
        return wanted

    def _remove_account(self, user: str) -> None:
        self._attempt(f"account {user}", plan.delete_account(user))
        del self._accounts[user]
        for applied in self._targets.values():
            applied.accounts -= {(user, True), (user, False)}
            applied.serves = None

    def _drop_accounts(self, targets: Iterable[ServedTarget]) -> None:
        for user in self._accounts.keys() - self._wanted_accounts(targets).keys():
            self._remove_account(user)

    def _apply_target(self, target: ServedTarget) -> None:
        units = self._units(target)
        applied = self._targets.get(target.iqn)
        if applied is None:
            applied = self._create(target)
        if applied is None or (applied.serves == target and applied.units == units):
            return
        # Who may log in is widened last: nobody gets in before accounts and LUNs are there.
        complete = self._narrow(applied, target)
        complete &= self._bind_accounts(applied, target)
        for number in sorted(applied.units.keys() | units.keys()):
            complete &= self._apply_unit(applied, target.iqn, number, units.get(number))
        if complete:
            complete = self._change_acl(applied, target.iqn, plan.acl(target))
        applied.serves = target if complete else None

    def _create(self, target: ServedTarget) -> _Applied | None:
        applied = _Applied(self._next_tid)
        self._next_tid += 1
        if not self._attempt(target.iqn, plan.new_target(applied.tid, target.iqn)):
            return None
        self._targets[target.iqn] = applied
        return applied

    def _units(self, target: ServedTarget) -> dict[int, plan.Unit]:
        units = {}
        for lun in target.luns:
            problem = plan.obstacle(lun)
            if problem is None:
                try:
                    units[lun.number] = plan.Unit(lun, plan.backing_of(lun.path))
                except OSError as error:
                    problem = f"LUN {lun.number}: {error.strerror}: {lun.path}"
            if problem is not None:
                self._say(target.iqn, problem)
        return units

    def _change_acl(self, applied: _Applied, iqn: str, wants: frozenset[tuple[str, object]]) -> bool:
        done = self._attempt(iqn, *plan.acl_calls(applied.tid, had=applied.acl, wants=wants))
        applied.acl = wants if done else applied.acl
        return done

    def _narrow(self, applied: _Applied, target: ServedTarget) -> bool:
        """Take out those who may no longer log in, and cut those of them who are."""
        keeps = applied.acl & plan.acl(target)
        if keeps == applied.acl:
            return True
        done = self._change_acl(applied, target.iqn, keeps)
        with contextlib.suppress(TgtError):
            for each in self.tgtd.connections(applied.tid):
                if not target.open_to_all and each.initiator not in target.initiators:
                    cut = plan.delete_connection(applied.tid, sid=each.sid, cid=each.cid)
                    done &= self._attempt(target.iqn, cut)
        return done

    def _bind_accounts(self, applied: _Applied, target: ServedTarget) -> bool:
        wants = plan.accounts(target)
        done = self._attempt(target.iqn, *plan.account_calls(applied.tid, had=applied.accounts, wants=wants))
        if done:
            applied.accounts = set(wants)
        return done

    def _apply_unit(self, applied: _Applied, iqn: str, number: int, wants: plan.Unit | None) -> bool:
        had = applied.units.pop(number, None)
        if had == wants:
            done = True
        else:
            done = self._attempt(iqn, *plan.lun_calls(applied.tid, number, had=had, wants=wants))
            if not done:
                with contextlib.suppress(TgtError):
                    self.tgtd.call(*plan.delete_lun(applied.tid, number))
        if done and wants is not None:
            applied.units[number] = wants
        return done


class TgtData:
    """The data side for the gate: applies off the event loop, and tells when it has caught up."""

    def __init__(
        self,
        desired: Callable[[], Awaitable[tuple[ServedTarget, ...]]],
        applier: Applier,
        *,
        visited: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._desired, self._applier, self.visited = desired, applier, visited
        self._worker = ThreadPoolExecutor(1, "tgt")
        self._noted = self._served = 0
        self._round: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()

    def changed(self) -> None:
        """Note a change; it is applied soon, together with others."""
        self._noted += 1
        if self._round is None or self._round.done():
            self._round = asyncio.get_running_loop().create_task(self._rounds())

    async def _rounds(self) -> None:
        while self._served < self._noted:
            goal = self._noted
            try:
                targets = await self._desired()
                await asyncio.get_running_loop().run_in_executor(self._worker, self._applier.apply, targets)
            except Exception:  # noqa: BLE001  # whoever waits must hear of the end of the round
                _log.exception("serving LUNs failed")
            self._served = goal
            self._woken.set()
            self._woken = asyncio.Event()

    async def settled(self) -> None:
        """Wait until all that was noted before this call is served."""
        goal = self._noted
        while self._served < goal:
            await self._woken.wait()

    async def sessions(self) -> tuple[Session, ...]:
        """Give who is logged in; nobody, if tgtd does not say."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, self._applier.tgtd.sessions)
        except TgtError as error:
            _log.warning("%s", error)
            return ()

    async def stop(self) -> None:
        """Finish the round under way."""
        if self._round is not None:
            await self._round
        self._worker.shutdown()
