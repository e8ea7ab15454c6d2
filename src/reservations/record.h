/* SPDX-License-Identifier: MIT */
/*
 * record.h: how contracts and totals are written in the Datastore. Text, so that a person can read it:
 *
 *   contract/NAME         id=ID size=BYTES changed=SECONDS.NANOSECONDS
 *   id/IDHEX (16 digits)  NAME
 *   totals                reserved=BYTES contracts=N next_id=ID changed=SECONDS.NANOSECONDS commits=N
 *   clean                 commits=N file=IDENTITY
 *
 * `clean` is there after a clean end, and says of which state, in which file: it is good for no other.
 * The ids below next_id may have been given away. Decoding is strict: whatever encoding would not have written is -EBADMSG.
 */
#ifndef RFS_RESERVATIONS_RECORD_H
#define RFS_RESERVATIONS_RECORD_H

#include <reservefs/datastore.h>
#include <reservefs/types.h>

#define RFS_KEY_CONTRACT "contract/"
#define RFS_KEY_ID "id/"
#define RFS_KEY_TOTALS "totals"
#define RFS_KEY_CLEAN "clean"

struct rfs_contract_record {
	uint64_t id;
	uint64_t size_bytes;
	struct rfs_time changed;
};

struct rfs_totals_record {
	uint64_t reserved_bytes;
	uint64_t contracts;
	uint64_t next_id;
	struct rfs_time changed;
	uint64_t commits;
};

/* `name` is at most RFS_NAME_MAX bytes. */
void rfs_record_contract_key(const char *name, char ret_key[RFS_KEY_MAX + 1]);
void rfs_record_id_key(uint64_t id, char ret_key[RFS_KEY_MAX + 1]);
int rfs_record_id_of_key(const char *key, uint64_t *ret_id);

void rfs_record_encode_contract(const struct rfs_contract_record *record, char ret_text[RFS_VALUE_MAX + 1]);
int rfs_record_decode_contract(const char *text, struct rfs_contract_record *ret_record);
void rfs_record_encode_totals(const struct rfs_totals_record *record, char ret_text[RFS_VALUE_MAX + 1]);
/* `identity` is what rfs_datastore_identity says. */
void rfs_record_encode_clean(uint64_t commits, const char *identity, char ret_text[RFS_VALUE_MAX + 1]);
int rfs_record_decode_totals(const char *text, struct rfs_totals_record *ret_record);

#endif
