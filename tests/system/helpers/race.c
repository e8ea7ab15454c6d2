/* SPDX-License-Identifier: MIT */
/*
 * race.c: many processes write at the same moment. `race VALUE FILE...` has one process a FILE, opens all, lets
 * all go at once, and prints for each kind of outcome (`ok` or an errno) how many had it, sorted by name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* One writer: says that it is ready, or cannot be, waits until the gate closes, and writes. */
static int write_once(const char *value, const char *path, int ready, int gate)
{
	char byte = 0;
	int fd = open(path, O_WRONLY), opened = fd < 0 ? errno : 0;

	if (write(ready, &byte, 1) != 1 || read(gate, &byte, 1) != 0)
		return EPROTO;
	if (opened != 0)
		return opened;
	return write(fd, value, strlen(value)) < 0 ? errno : 0;
}

int main(int argc, char **argv)
{
	int ready[2], gate[2], writers = argc - 2, *outcomes;
	unsigned counts[4096] = { 0 };
	char byte;

	if (argc < 3 || pipe(ready) < 0 || pipe(gate) < 0)
		return 2;
	outcomes = mmap(NULL, sizeof(int) * (size_t) writers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (outcomes == MAP_FAILED)
		return 2;

	for (int i = 0; i < writers; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return 2;
		if (pid == 0) {
			close(ready[0]);
			close(gate[1]);
			outcomes[i] = write_once(argv[1], argv[2 + i], ready[1], gate[0]);
			_exit(0);
		}
	}
	close(ready[1]);
	close(gate[0]);
	for (int i = 0; i < writers; i++)
		if (read(ready[0], &byte, 1) != 1)
			break;
	close(gate[1]);
	while (wait(NULL) > 0)
		;

	for (int i = 0; i < writers; i++)
		counts[outcomes[i]]++;
	for (int error = 1; error < 4096; error++)
		if (counts[error] > 0)
			printf("%s %u\n", strerrorname_np(error), counts[error]);
	if (counts[0] > 0)
		printf("ok %u\n", counts[0]);
	return 0;
}
