/* SPDX-License-Identifier: MIT */
/*
 * refuse.c: runs a command under a seccomp profile that refuses system calls.
 *
 *     refuse EPERM|ENOSYS CALL[,CALL...] COMMAND [ARGUMENT...]
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS_MAX 32
#define STATUS 99

static const struct {
	const char *name;
	unsigned int number;
} calls[] = {
	{ "clone3", SYS_clone3 },	    { "close_range", SYS_close_range }, { "fallocate", SYS_fallocate },
	{ "memfd_create", SYS_memfd_create }, { "move_mount", SYS_move_mount },   { "name_to_handle_at", SYS_name_to_handle_at },
	{ "open_tree", SYS_open_tree },	    { "openat2", SYS_openat2 },		{ "pidfd_open", SYS_pidfd_open },
	{ "renameat2", SYS_renameat2 },	    { "statx", SYS_statx },
};

static int find(const char *name)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (strcmp(calls[i].name, name) == 0)
			return (int) i;
	return -1;
}

/* One comparison and one answer for each. */
static int write_program(char *names, unsigned int error, struct sock_filter *ret_code)
{
	int length = 0;

	ret_code[length++] = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
		int i = find(name);
		if (i < 0 || length > 2 * CALLS_MAX)
			return -1;
		ret_code[length++] = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 1);
		ret_code[length++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
	}
	ret_code[length++] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	return length;
}

int main(int argc, char **argv)
{
	struct sock_filter code[2 * CALLS_MAX + 4];

	if (argc < 4)
		return STATUS;
	int length = write_program(argv[2], strcmp(argv[1], "EPERM") == 0 ? EPERM : ENOSYS, code);
	if (length < 0) {
		fprintf(stderr, "refuse: not a call that I know\n");
		return STATUS;
	}
	struct sock_fprog program = { .len = (unsigned short) length, .filter = code };
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
		perror("refuse");
		return STATUS;
	}
	execvp(argv[3], argv + 3);
	perror(argv[3]);
	return STATUS;
}
