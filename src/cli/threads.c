/* SPDX-License-Identifier: MIT */
/*
 * threads.c: the C library starts threads with clone3(2), and takes the older clone(2) where the kernel answers that it
 * has no such call. A seccomp profile that has not heard of clone3 may answer EPERM instead, which the library takes
 * for the end of it. Of several filters that refuse a call the newest says how; so one of our own gives the answer that
 * the library understands.
 */
#include "cli/threads.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* With arguments that every kernel refuses, for another reason. */
static bool is_refused(void)
{
	return syscall(SYS_clone3, NULL, 0) < 0 && errno == EPERM;
}

/* Needs CAP_SYS_ADMIN, or that no new privileges can be had. The number of clone3 is the same on all architectures. */
static void answer_enosys(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int rfs_threads_prepare(struct rfs_failure *failure)
{
	if (!is_refused())
		return 0;
	answer_enosys();
	if (!is_refused())
		return 0;
	return rfs_fail(failure, RFS_EXIT_SYSTEM, -EPERM,
			"no thread can be started, because a seccomp profile refuses clone3 with EPERM; let it allow "
			"clone3, or refuse it with ENOSYS");
}
