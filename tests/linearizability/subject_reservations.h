/* SPDX-License-Identifier: MIT */
/* subject_reservations.h: Reservations, asked directly. */
#ifndef TESTS_SUBJECT_RESERVATIONS_H
#define TESTS_SUBJECT_RESERVATIONS_H

#include "record.h"
#include <reservefs/reservations.h>

/* `r` stays the caller's. NULL: out of memory. */
struct subject *subject_reservations_new(struct rfs_reservations *r);
void subject_reservations_free(struct subject *s);

#endif
