"""The tools that a session of old Solaris finds: strict stand-ins, which run the real tool where the old one could.

What they know is from the manual pages of Solaris 10 and OpenSolaris, section 1, and from sources that Sun published:
usr/src/cmd/sh, oawk, sleep and usr/src/ucbcmd/sed.
"""
