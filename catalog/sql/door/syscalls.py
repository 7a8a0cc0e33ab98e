"""What a query's process may not ask of the kernel, by the numbers of each architecture. Pure; imports nothing of ours.

`clone`, `open` and `openat` are not here: the filter looks at their flags. `clone3` and `openat2` keep theirs in
memory, where a filter can't look, so they "do not exist" and the C library falls back on the older ones.
"""

from __future__ import annotations

from dataclasses import dataclass

# Name, number on x86_64, number on aarch64; - where the architecture has no such call.
_DENIED = """
# talk to anyone but the service
socket 41 198
socketpair 53 199
connect 42 203
bind 49 200
listen 50 201
accept 43 202
accept4 288 242
sendmsg 46 211
sendmmsg 307 269
# become or start another program
execve 59 221
execveat 322 281
fork 57 -
vfork 58 -
setuid 105 146
setgid 106 144
setreuid 113 145
setregid 114 143
setresuid 117 147
setresgid 119 149
setfsuid 122 151
setfsgid 123 152
setgroups 116 159
capset 126 91
personality 135 92
# reach other processes
kill 62 129
tkill 200 130
tgkill 234 131
rt_sigqueueinfo 129 138
rt_tgsigqueueinfo 297 240
ptrace 101 117
process_vm_readv 310 270
process_vm_writev 311 271
process_madvise 440 440
kcmp 312 272
pidfd_open 434 434
pidfd_getfd 438 438
pidfd_send_signal 424 424
shmget 29 194
shmat 30 196
msgget 68 186
semget 64 190
mq_open 240 180
mq_unlink 241 181
# change files, open or not
creat 85 -
chmod 90 -
fchmod 91 52
fchmodat 268 53
fchmodat2 452 452
chown 92 -
fchown 93 55
lchown 94 -
fchownat 260 54
utime 132 -
utimes 235 -
futimesat 261 -
utimensat 280 88
rename 82 -
renameat 264 38
renameat2 316 276
unlink 87 -
unlinkat 263 35
rmdir 84 -
link 86 -
linkat 265 37
symlink 88 -
symlinkat 266 36
mkdir 83 -
mkdirat 258 34
mknod 133 -
mknodat 259 33
truncate 76 45
ftruncate 77 46
fallocate 285 47
setxattr 188 5
lsetxattr 189 6
fsetxattr 190 7
setxattrat 463 463
removexattr 197 14
lremovexattr 198 15
fremovexattr 199 16
removexattrat 466 466
file_setattr 469 469
memfd_create 319 279
memfd_secret 447 447
name_to_handle_at 303 264
open_by_handle_at 304 265
# change what the process sees, or the machine
mount 165 40
umount2 166 39
pivot_root 155 41
chroot 161 51
unshare 272 97
setns 308 268
move_mount 429 429
open_tree 428 428
open_tree_attr 467 467
fsopen 430 430
fsconfig 431 431
fsmount 432 432
fspick 433 433
mount_setattr 442 442
quotactl 179 60
quotactl_fd 443 443
swapon 167 224
swapoff 168 225
reboot 169 142
init_module 175 105
finit_module 313 273
delete_module 176 106
kexec_load 246 104
kexec_file_load 320 294
iopl 172 -
ioperm 173 -
acct 163 89
sethostname 170 161
setdomainname 171 162
syslog 103 116
uselib 134 -
modify_ldt 154 -
fanotify_init 300 262
# use large parts of the kernel that a query has no need of
io_uring_setup 425 425
io_uring_enter 426 426
io_uring_register 427 427
bpf 321 280
userfaultfd 323 282
perf_event_open 298 241
add_key 248 217
request_key 249 218
keyctl 250 219
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """One architecture: its mark in seccomp's data, and its numbers; `open` is None where only openat exists."""

    audit_arch: int
    denied: tuple[int, ...]
    clone: int
    open: int | None
    openat: int
    absent: tuple[int, ...] = (435, 437)
    """clone3 and openat2, the same everywhere."""


def _numbers(column: int) -> tuple[int, ...]:
    rows = (line.split() for line in _DENIED.splitlines() if line and not line.startswith("#"))
    return tuple(int(row[column]) for row in rows if row[column] != "-")


MACHINES: dict[str, Machine] = {
    "x86_64": Machine(0xC000003E, _numbers(1), clone=56, open=2, openat=257),
    "aarch64": Machine(0xC00000B7, _numbers(2), clone=220, open=None, openat=56),
}
"""By `os.uname().machine`. Any other machine has no door."""
