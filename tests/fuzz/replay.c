/* SPDX-License-Identifier: MIT */
/*
 * replay.c DIRECTORY: the driver of a fuzz target where there is no libFuzzer: feeds it each file of a corpus, in order
 * of their names, and the empty input. It names each file before, so that the last one named is what ended it.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

/* Reads all of `path` into memory of exactly that size, so that a sanitizer sees a read beyond it. */
static uint8_t *read_all(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "rbe");
	uint8_t *data;
	long size;

	if (!file || fseek(file, 0, SEEK_END) < 0 || (size = ftell(file)) < 0 || fseek(file, 0, SEEK_SET) < 0) {
		perror(path);
		exit(1);
	}
	data = malloc(size > 0 ? (size_t) size : 1);
	if (!data || fread(data, 1, (size_t) size, file) != (size_t) size) {
		perror(path);
		exit(1);
	}
	fclose(file);
	*ret_size = (size_t) size;
	return data;
}

static void replay(const char *directory, const char *name)
{
	char path[4096];
	uint8_t *data;
	size_t size;

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int) sizeof(path)) {
		fprintf(stderr, "%s/%s: the path is too long\n", directory, name);
		exit(1);
	}
	printf("# %s\n", name);
	fflush(stdout);
	data = read_all(path, &size);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
	struct dirent **entries;
	int count;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 1;
	}
	count = scandir(argv[1], &entries, is_visible, alphasort);
	if (count < 0) {
		perror(argv[1]);
		return 1;
	}
	if (count == 0) {
		fprintf(stderr, "%s: the corpus is empty\n", argv[1]);
		return 1;
	}

	LLVMFuzzerTestOneInput((const uint8_t *) "", 0);
	for (int i = 0; i < count; i++) {
		replay(argv[1], entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	printf("%d inputs\n", count + 1);
	return 0;
}
