/* SPDX-License-Identifier: MIT */
/*
 * privileges.c: gives privileges up. Invariant: after a success no thread of root's daemon has, or can get again, a capability
 * beyond the kept ones, and no memory of any daemon can be dumped or looked at by others.
 */
#include "cli/privileges.h"
#include "util/log.h"

#include <cap-ng.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * CAP_SYS_ADMIN: mount(2), and umount2(2) when the daemon is told to end.
 * CAP_DAC_OVERRIDE: a Datastore that belongs to a user, with mode 0600 in a directory of mode 0700, is opened again by its
 * path after its disk failed; and umount2 has to find a mount point that may be in such a directory, too.
 * CAP_FOWNER is not among them: the modes of files that exist already are left as they are.
 */
static const unsigned int kept[] = { CAP_SYS_ADMIN, CAP_DAC_OVERRIDE };

#define KEPT_COUNT (sizeof(kept) / sizeof(kept[0]))

/* Where a service manager forbids the limit, that the process is not dumpable does the same. */
static void leave_no_core(void)
{
	const struct rlimit none = { 0, 0 };

	if (setrlimit(RLIMIT_CORE, &none) < 0)
		rfs_log(LOG_DEBUG, "cannot limit core dumps: %s", strerror(errno));
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* A container may have taken some away already: those are not missed before they are needed. */
static int drop_capabilities(void)
{
	bool held[KEPT_COUNT];

	if (capng_get_caps_process() != 0)
		return -EPERM;
	for (size_t i = 0; i < KEPT_COUNT; i++)
		held[i] = capng_have_capability(CAPNG_PERMITTED, kept[i]);
	bool bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < KEPT_COUNT; i++)
		if (held[i] && capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, kept[i]))
			return -EINVAL;
	/* Without CAP_SETPCAP the bounding set stays; PR_SET_NO_NEW_PRIVS sees to it that nothing comes of that. */
	return capng_apply(bounds ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS) ? -EPERM : 0;
}

int rfs_privileges_drop(struct rfs_failure *failure)
{
	leave_no_core();
	if (geteuid() != 0)
		return 0;
	int r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : drop_capabilities();
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r,
				"cannot give up root's privileges: %s; check what the container or service manager allows",
				strerror(-r));
	return 0;
}
