/* SPDX-License-Identifier: MIT */
/*
 * memory.c: the Datastore in memory, for tests and for callers that need nothing to last.
 *
 * The records are in a treap (a search tree by key, a heap by priority) whose nodes never change once made: a change
 * makes new nodes from the root down to its place and shares all others. So a root is a snapshot for as long as
 * somebody holds a reference to it: readers hold the committed one, the transaction builds upon another.
 *
 * Invariant: `committed` is a whole tree, and only replaced by another whole tree.
 */
#include <reservefs/datastore.h>

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "util/cleanup.h"

struct record {
	atomic_uint references;
	uint32_t priority; /* a hash of the key, so that equal keys have equal priorities */
	const char *value; /* behind the key */
	char key[];
};

struct node {
	atomic_uint references;
	struct record *record;
	struct node *left;
	struct node *right;
};

struct memory_datastore {
	struct rfs_datastore base;
	pthread_mutex_t lock;   /* guards `committed`, the pointer */
	struct node *committed;
	struct node *pending;   /* what the transaction has made of it; of the transaction's thread */
	uint64_t number;        /* of this one among all of the process */
};

/* Records */

static uint32_t hash(const char *key)
{
	/* A CRC keeps the order of similar keys; the multiplication scatters them. */
	uint32_t h = (uint32_t) crc32(0, (const Bytef *) key, (uInt) strlen(key));
	h ^= h >> 16;
	h *= 0x7feb352du;
	h ^= h >> 15;
	h *= 0x846ca68bu;
	return h ^ (h >> 16);
}

static struct record *record_new(const char *key, const char *value)
{
	size_t key_size = strlen(key) + 1, value_size = strlen(value) + 1;
	struct record *record = malloc(sizeof(*record) + key_size + value_size);
	if (!record)
		return NULL;
	atomic_init(&record->references, 1);
	record->priority = hash(key);
	memcpy(record->key, key, key_size);
	memcpy(record->key + key_size, value, value_size);
	record->value = record->key + key_size;
	return record;
}

static void record_unref(struct record *record)
{
	if (record && atomic_fetch_sub(&record->references, 1) == 1)
		free(record);
}

/* Nodes. A NULL node is the empty tree. */

static struct node *node_ref(struct node *node)
{
	if (node)
		atomic_fetch_add(&node->references, 1);
	return node;
}

static void node_unref(struct node *node)
{
	if (!node || atomic_fetch_sub(&node->references, 1) != 1)
		return;
	node_unref(node->left);
	node_unref(node->right);
	record_unref(node->record);
	free(node);
}

/* A node that shares `record`, and takes over the references to left and right even when it fails. */
static int node_new(struct record *record, struct node *left, struct node *right, struct node **ret_node)
{
	struct node *node = malloc(sizeof(*node));
	if (!node) {
		node_unref(left);
		node_unref(right);
		return -ENOMEM;
	}
	atomic_init(&node->references, 1);
	atomic_fetch_add(&record->references, 1);
	node->record = record;
	node->left = left;
	node->right = right;
	*ret_node = node;
	return 0;
}

/* The records below `key` and those above it; `key` itself is not in the tree. */
static int tree_split(struct node *tree, const char *key, struct node **ret_below, struct node **ret_above)
{
	struct node *below = NULL, *above = NULL;
	int rc;

	if (!tree) {
		*ret_below = *ret_above = NULL;
		return 0;
	}
	if (strcmp(key, tree->record->key) > 0) {
		rc = tree_split(tree->right, key, &below, &above);
		if (!rc)
			rc = node_new(tree->record, node_ref(tree->left), TAKE_PTR(below), &below);
	} else {
		rc = tree_split(tree->left, key, &below, &above);
		if (!rc)
			rc = node_new(tree->record, TAKE_PTR(above), node_ref(tree->right), &above);
	}
	if (rc) {
		node_unref(below);
		node_unref(above);
		return rc;
	}
	*ret_below = below;
	*ret_above = above;
	return 0;
}

/* One tree of two, where every key of `below` is less than every key of `above`. */
static int tree_join(struct node *below, struct node *above, struct node **ret_tree)
{
	struct node *joined;
	int rc;

	if (!below || !above) {
		*ret_tree = node_ref(below ? below : above);
		return 0;
	}
	if (below->record->priority >= above->record->priority) {
		rc = tree_join(below->right, above, &joined);
		return rc ? rc : node_new(below->record, node_ref(below->left), joined, ret_tree);
	}
	rc = tree_join(below, above->left, &joined);
	return rc ? rc : node_new(above->record, joined, node_ref(above->right), ret_tree);
}

static int tree_put(struct node *tree, struct record *record, struct node **ret_tree)
{
	struct node *left, *right;
	int rc, order;

	/* A tree whose root has a lower priority than the record cannot hold the record's key. */
	if (!tree || tree->record->priority < record->priority) {
		rc = tree_split(tree, record->key, &left, &right);
		return rc ? rc : node_new(record, left, right, ret_tree);
	}
	order = strcmp(record->key, tree->record->key);
	if (order == 0)
		return node_new(record, node_ref(tree->left), node_ref(tree->right), ret_tree);
	if (order < 0) {
		rc = tree_put(tree->left, record, &left);
		return rc ? rc : node_new(tree->record, left, node_ref(tree->right), ret_tree);
	}
	rc = tree_put(tree->right, record, &right);
	return rc ? rc : node_new(tree->record, node_ref(tree->left), right, ret_tree);
}

static const struct record *tree_find(const struct node *tree, const char *key)
{
	while (tree) {
		int order = strcmp(key, tree->record->key);
		if (order == 0)
			return tree->record;
		tree = order < 0 ? tree->left : tree->right;
	}
	return NULL;
}

/* `key` is in the tree. */
static int tree_delete(struct node *tree, const char *key, struct node **ret_tree)
{
	struct node *changed;
	int order = strcmp(key, tree->record->key);
	int rc;

	if (order == 0)
		return tree_join(tree->left, tree->right, ret_tree);
	rc = tree_delete(order < 0 ? tree->left : tree->right, key, &changed);
	if (rc)
		return rc;
	if (order < 0)
		return node_new(tree->record, changed, node_ref(tree->right), ret_tree);
	return node_new(tree->record, node_ref(tree->left), changed, ret_tree);
}

struct visit {
	const char *prefix;
	size_t prefix_length;
	const char *after;
	rfs_scan_fn fn;
	void *user;
};

/* In key order, only into subtrees that can hold what is asked for. What `fn` returns, as soon as it isn't 0. */
static int tree_visit(const struct node *tree, const struct visit *visit)
{
	if (!tree)
		return 0;
	const char *key = tree->record->key;
	int to_prefix = strncmp(key, visit->prefix, visit->prefix_length);
	bool above_after = strcmp(key, visit->after) > 0;
	int rc = 0;

	if (to_prefix >= 0 && above_after)
		rc = tree_visit(tree->left, visit);
	if (!rc && to_prefix == 0 && above_after)
		rc = visit->fn(visit->user, key, tree->record->value);
	if (!rc && to_prefix <= 0)
		rc = tree_visit(tree->right, visit);
	return rc;
}

/* The Datastore */

static struct memory_datastore *memory_of(struct rfs_datastore *ds)
{
	return (struct memory_datastore *) ds;
}

static struct node *committed_ref(struct memory_datastore *memory)
{
	RFS_LOCK(&memory->lock);
	return node_ref(memory->committed);
}

static int read_value(const struct node *tree, const char *key, struct rfs_value *ret_value)
{
	const struct record *record = tree_find(tree, key);
	if (!record)
		return -ENOENT;
	ret_value->length = strlen(record->value);
	memcpy(ret_value->data, record->value, ret_value->length + 1);
	return 0;
}

static int memory_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	struct node *snapshot = committed_ref(memory_of(ds));
	int rc = read_value(snapshot, key, ret_value);
	node_unref(snapshot);
	return rc;
}

static int memory_scan(struct rfs_datastore *ds, const char *prefix, const char *after, rfs_scan_fn fn, void *user)
{
	struct node *snapshot = committed_ref(memory_of(ds));
	struct visit visit = { prefix, strlen(prefix), after, fn, user };
	int rc = tree_visit(snapshot, &visit);
	node_unref(snapshot);
	return rc < 0 ? rc : 0;
}

static int memory_begin(struct rfs_datastore *ds)
{
	memory_of(ds)->pending = committed_ref(memory_of(ds));
	return 0;
}

static int memory_txn_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value)
{
	return read_value(memory_of(ds)->pending, key, ret_value);
}

static void replace_pending(struct memory_datastore *memory, struct node *tree)
{
	node_unref(memory->pending);
	memory->pending = tree;
}

static int memory_txn_put(struct rfs_datastore *ds, const char *key, const char *value)
{
	struct memory_datastore *memory = memory_of(ds);
	struct record *record = record_new(key, value);
	struct node *tree;
	if (!record)
		return -ENOMEM;
	int rc = tree_put(memory->pending, record, &tree);
	record_unref(record);
	if (!rc)
		replace_pending(memory, tree);
	return rc;
}

static int memory_txn_delete(struct rfs_datastore *ds, const char *key)
{
	struct memory_datastore *memory = memory_of(ds);
	struct node *tree;
	if (!tree_find(memory->pending, key))
		return 0;
	int rc = tree_delete(memory->pending, key, &tree);
	if (!rc)
		replace_pending(memory, tree);
	return rc;
}

static int memory_commit(struct rfs_datastore *ds)
{
	struct memory_datastore *memory = memory_of(ds);
	struct node *old;
	{
		RFS_LOCK(&memory->lock);
		old = memory->committed;
		memory->committed = TAKE_PTR(memory->pending);
	}
	node_unref(old);
	return 0;
}

static void memory_rollback(struct rfs_datastore *ds)
{
	replace_pending(memory_of(ds), NULL);
}

static unsigned int memory_tidy(struct rfs_datastore *ds)
{
	(void) ds;
	return 0;
}

static int memory_settle(struct rfs_datastore *ds)
{
	(void) ds;
	return 0;
}

static void memory_identity(struct rfs_datastore *ds, char ret_identity[RFS_IDENTITY_MAX + 1])
{
	(void) snprintf(ret_identity, RFS_IDENTITY_MAX + 1, "memory=%" PRIu64, ((struct memory_datastore *) ds)->number);
}

static const char *memory_explain(struct rfs_datastore *ds)
{
	(void) ds;
	return "the Datastore is in memory: it fails only where memory is short";
}

static void memory_close(struct rfs_datastore *ds)
{
	struct memory_datastore *memory = memory_of(ds);
	node_unref(memory->pending);
	node_unref(memory->committed);
	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

static const struct rfs_datastore_ops memory_ops = {
	.name = "memory",
	.get = memory_get,
	.get_now = memory_get,
	.scan = memory_scan,
	.begin = memory_begin,
	.txn_get = memory_txn_get,
	.txn_put = memory_txn_put,
	.txn_delete = memory_txn_delete,
	.commit = memory_commit,
	.rollback = memory_rollback,
	.tidy = memory_tidy,
	.settle = memory_settle,
	.identity = memory_identity,
	.explain = memory_explain,
	.close = memory_close,
};

static _Atomic uint64_t last_number;

int rfs_datastore_open_memory(struct rfs_datastore **ret_ds)
{
	struct memory_datastore *memory = calloc(1, sizeof(*memory));
	if (!memory)
		return -ENOMEM;
	memory->base.ops = &memory_ops;
	memory->number = atomic_fetch_add(&last_number, 1) + 1;
	int rc = pthread_mutex_init(&memory->lock, NULL);
	if (rc) {
		free(memory);
		return -rc;
	}
	*ret_ds = &memory->base;
	return 0;
}
