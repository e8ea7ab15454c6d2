/* SPDX-License-Identifier: MIT */
/*
 * fuzz_options.c: the command lines and the config file. The input is the arguments, each ended by a newline, and, behind the
 * first byte 0x1e, a config file, which is then named by -o config=. Whatever they are: reading them neither ends the
 * process nor prints, and what comes out is whole.
 */
#include "fuzz.h"

#include <errno.h>
#include <reservefs/repo.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/settings.h"
#include "cli/umount.h"

#define ARGUMENTS_MOST 32
#define SIZE_MOST 16384
#define SEPARATOR 0x1e

static bool reading, printed;

static void on_exit_of_process(void)
{
	if (reading)
		abort();
}

static ssize_t note_print(void *cookie, const char *data, size_t size)
{
	(void) cookie;
	(void) data;
	printed = true;
	return (ssize_t) size;
}

/* Stands for stdout and stderr while options are read. What a sanitizer has to say goes to the descriptor. */
static FILE *trap(void)
{
	static FILE *file;

	if (!file) {
		file = fopencookie(NULL, "w", (cookie_io_functions_t) { .write = note_print });
		CHECK(file);
		CHECK(setvbuf(file, NULL, _IONBF, 0) == 0);
		CHECK(atexit(on_exit_of_process) == 0);
	}
	return file;
}

static void check_options(const struct rfs_options *o)
{
	CHECK(o->action == RFS_ACTION_MOUNT || o->action == RFS_ACTION_CHECK || o->action == RFS_ACTION_HELP ||
	      o->action == RFS_ACTION_VERSION);
	if (o->action == RFS_ACTION_HELP || o->action == RFS_ACTION_VERSION)
		return;
	CHECK(o->repo && o->mountpoint);
	CHECK(o->capacity_bytes <= RFS_BYTES_MAX || (o->capacity_bytes == RFS_CAPACITY_MAX && !o->quota));
	CHECK(!o->datastore || o->datastore[0] == '/');
	CHECK(!o->pool || strlen(o->pool) > 0);
	CHECK(o->fuse.argc >= 3 && !o->fuse.argv[o->fuse.argc]);
	CHECK(strstr(o->fuse.argv[2], "default_permissions") == o->fuse.argv[2]);
}

static void check_failure(int r, const struct rfs_failure *failure)
{
	CHECK(r == -EINVAL || r == -ENOMEM);
	CHECK(failure->status == (r == -EINVAL ? RFS_EXIT_USAGE : RFS_EXIT_SYSTEM));
	CHECK(failure->line[0] != '\0' && memchr(failure->line, '\0', sizeof(failure->line)));
}

/* The arguments of umount(8)'s helper. */
static void parse_umount(int argc, char **argv)
{
	static struct rfs_failure failure;
	struct rfs_umount_options options = { .mountpoint = "untouched" };

	memset(&failure, 0, sizeof(failure));
	int r = rfs_umount_parse(argc, argv, &options, &failure);
	if (r < 0) {
		check_failure(r, &failure);
		CHECK(strcmp(options.mountpoint, "untouched") == 0);
		return;
	}
	CHECK(r == 0 && failure.status == 0);
	CHECK(options.action != RFS_UMOUNT_UNMOUNT || (options.mountpoint && *options.mountpoint));
}

static void parse(int argc, char **argv)
{
	static struct rfs_failure failure;
	struct rfs_options options = { .pool = (char *) "untouched" };
	FILE *usual_stdout = stdout, *usual_stderr = stderr;

	if (argc > 0 && rfs_umount_is_called(argv[0])) {
		parse_umount(argc, argv);
		return;
	}
	memset(&failure, 0, sizeof(failure));
	stdout = stderr = trap();
	reading = true;
	int r = rfs_options_parse(argc, argv, &options, &failure);
	reading = false;
	stdout = usual_stdout;
	stderr = usual_stderr;
	CHECK(!printed);
	if (r < 0) {
		check_failure(r, &failure);
		CHECK(strcmp(options.pool, "untouched") == 0 && !options.repo);
		return;
	}
	CHECK(r == 0 && failure.status == 0);
	check_options(&options);
	rfs_options_done(&options);
}

/* The same file by itself: what is refused there is refused with the place. */
static void read_alone(const char *path)
{
	static struct rfs_failure failure;
	struct rfs_settings settings = { .set = 0 };

	memset(&failure, 0, sizeof(failure));
	int r = rfs_settings_read(&settings, path, &failure);
	if (r < 0)
		check_failure(r, &failure);
	else
		CHECK(failure.status == 0);
	rfs_settings_done(&settings);
}

/* Any other file is none of the input's business. */
static bool names_a_file(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strstr(argv[i], "config"))
			return true;
	return false;
}

static int split(char *text, char **ret_argv)
{
	int argc = 0;

	while (text && argc < ARGUMENTS_MOST) {
		char *end = strchr(text, '\n');
		if (end)
			*end++ = '\0';
		ret_argv[argc++] = text;
		text = end;
	}
	return argc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[ARGUMENTS_MOST + 3];
	char path[64], option[80];

	if (size > SIZE_MOST)
		return 0;
	char *text = malloc(size + 1);
	CHECK(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	char *config = memchr(text, SEPARATOR, size);
	if (config)
		*config++ = '\0';
	int argc = split(text, argv);
	if (names_a_file(argc, argv)) {
		free(text);
		return 0;
	}
	if (config) {
		int fd = memfd_create("config", MFD_CLOEXEC);
		size_t length = size - (size_t) (config - text);
		CHECK(fd >= 0 && write(fd, config, length) == (ssize_t) length);
		(void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		(void) snprintf(option, sizeof(option), "config=%s", path);
		read_alone(path);
		argv[argc++] = (char *) "-o";
		argv[argc++] = option;
		argv[argc] = NULL;
		parse(argc, argv);
		CHECK(close(fd) == 0);
	} else {
		argv[argc] = NULL;
		parse(argc, argv);
	}
	free(text);
	return 0;
}
