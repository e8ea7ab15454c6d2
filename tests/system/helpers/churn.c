/* SPDX-License-Identifier: MIT */
/*
 * churn.c: `churn RESERVATIONS PROCESSES CYCLES BYTES`. So many processes share CYCLES rounds of mkdir, write of BYTES,
 * rmdir, each on names of its own. Prints `CYCLES reserved REFUSED`: how many writes succeeded and how many met
 * ENOSPC. Any other outcome is an error: said on stderr, exit status 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct counters {
	unsigned long begun, reserved, refused;
};

static int fail(const char *what, const char *path)
{
	(void) fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
	return 1;
}

static int write_size(const char *path, const char *value, struct counters *shared)
{
	int fd = open(path, O_WRONLY);
	ssize_t written;

	if (fd < 0)
		return fail("open", path);
	written = write(fd, value, strlen(value));
	if (written < 0 && errno != ENOSPC)
		return fail("write", path);
	__atomic_add_fetch(written < 0 ? &shared->refused : &shared->reserved, 1, __ATOMIC_RELAXED);
	close(fd);
	return 0;
}

static int churn(const char *directory, int process, unsigned long cycles, const char *value, struct counters *shared)
{
	char contract[4096], size[4200];
	unsigned long cycle;

	while ((cycle = __atomic_add_fetch(&shared->begun, 1, __ATOMIC_RELAXED)) <= cycles) {
		(void) snprintf(contract, sizeof(contract), "%s/churn-%d-%lu", directory, process, cycle);
		(void) snprintf(size, sizeof(size), "%s/size", contract);
		if (mkdir(contract, 0777) < 0)
			return fail("mkdir", contract);
		if (write_size(size, value, shared) != 0)
			return 1;
		if (rmdir(contract) < 0)
			return fail("rmdir", contract);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct counters *shared;
	int processes, status, failed = 0;

	if (argc != 5)
		return 2;
	processes = atoi(argv[2]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	for (int i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return 2;
		if (pid == 0)
			_exit(churn(argv[1], i, strtoul(argv[3], NULL, 10), argv[4], shared));
	}
	while (wait(&status) > 0)
		if (status != 0)
			failed = 1;
	printf("%lu reserved %lu refused\n", shared->reserved, shared->refused);
	return failed;
}
