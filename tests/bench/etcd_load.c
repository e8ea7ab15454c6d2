/* SPDX-License-Identifier: MIT */
/*
 * etcd_load.c: etcd in the place of reservefs: each client is a process with one gRPC connection (HTTP/2 by libnghttp2,
 * messages written by hand), and a resize is one transaction that compares the contract's value and puts the new one.
 *
 * No sum is checked: with a sum in a key of its own, all transactions but one at a time would fail and have to be tried
 * again. So this is less than what reservefs does, and the comparison is generous to etcd.
 *
 * Invariant: a turn succeeds only if etcd said that the comparison held.
 */
#include "load.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_SIZE 512

/* Bytes of a protobuf message, or of the gRPC frame around one. */
struct message {
	size_t length;
	uint8_t bytes[MESSAGE_SIZE];
};

struct session {
	nghttp2_session *http;
	int fd;
	const char *address;
	char key[64];
	uint64_t size;
	struct message request;
	size_t sent; /* how much of `request` has been handed over */
	struct message response;
	bool answered;
};

/* ---- protobuf: what this needs of it ---- */

static void put_varint(struct message *m, uint64_t value)
{
	do {
		m->bytes[m->length++] = (uint8_t) ((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
		value >>= 7;
	} while (value);
}

static void put_number(struct message *m, unsigned field, uint64_t value)
{
	put_varint(m, field << 3);
	put_varint(m, value);
}

static void put_bytes(struct message *m, unsigned field, const void *data, size_t length)
{
	put_varint(m, field << 3 | 2);
	put_varint(m, length);
	memcpy(m->bytes + m->length, data, length);
	m->length += length;
}

static uint64_t get_varint(const uint8_t **at, const uint8_t *end)
{
	uint64_t value = 0;

	for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
		uint8_t byte = *(*at)++;
		value |= (uint64_t) (byte & 0x7f) << shift;
		if (!(byte & 0x80))
			break;
	}
	return value;
}

/* TxnResponse.succeeded (field 2), from a response with its gRPC prefix of five bytes. */
static bool succeeded(const struct message *response)
{
	const uint8_t *at = response->bytes + 5, *end = response->bytes + response->length;

	while (at < end) {
		uint64_t tag = get_varint(&at, end), value = get_varint(&at, end);
		if (tag == (2 << 3))
			return value == 1;
		if ((tag & 7) == 2)
			at += value < (uint64_t) (end - at) ? value : (uint64_t) (end - at);
	}
	return false;
}

/* PutRequest { key = 1, value = 2 } */
static void put_request(const char *key, const char *value, struct message *ret)
{
	ret->length = 0;
	put_bytes(ret, 1, key, strlen(key));
	put_bytes(ret, 2, value, strlen(value));
}

/* TxnRequest { compare = 1: Compare { result = EQUAL, target = 2: VALUE, key = 3, value = 7 },
 *              success = 2: RequestOp { request_put = 2 } } */
static void txn_request(const char *key, const char *old, const char *new, struct message *ret)
{
	struct message compare = { 0 }, put, operation = { 0 };

	put_number(&compare, 2, 3);
	put_bytes(&compare, 3, key, strlen(key));
	put_bytes(&compare, 7, old, strlen(old));
	put_request(key, new, &put);
	put_bytes(&operation, 2, put.bytes, put.length);
	ret->length = 0;
	put_bytes(ret, 1, compare.bytes, compare.length);
	put_bytes(ret, 2, operation.bytes, operation.length);
}

/* ---- HTTP/2 ---- */

static ssize_t on_send(nghttp2_session *http, const uint8_t *data, size_t length, int flags, void *user)
{
	struct session *s = user;
	(void) http;
	(void) flags;

	ssize_t sent = send(s->fd, data, length, MSG_NOSIGNAL);
	return sent < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : sent;
}

static ssize_t on_request_data(nghttp2_session *http, int32_t stream, uint8_t *buffer, size_t length, uint32_t *flags,
			       nghttp2_data_source *source, void *user)
{
	struct session *s = user;
	size_t left = s->request.length - s->sent;
	(void) http;
	(void) stream;
	(void) source;

	if (left > length)
		left = length;
	memcpy(buffer, s->request.bytes + s->sent, left);
	s->sent += left;
	if (s->sent == s->request.length)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t) left;
}

static int on_response_data(nghttp2_session *http, uint8_t flags, int32_t stream, const uint8_t *data, size_t length,
			    void *user)
{
	struct session *s = user;
	(void) http;
	(void) flags;
	(void) stream;

	if (length > sizeof s->response.bytes - s->response.length)
		length = sizeof s->response.bytes - s->response.length;
	memcpy(s->response.bytes + s->response.length, data, length);
	s->response.length += length;
	return 0;
}

static int on_stream_close(nghttp2_session *http, int32_t stream, uint32_t error, void *user)
{
	struct session *s = user;
	(void) http;
	(void) stream;
	(void) error;

	s->answered = true;
	return 0;
}

#define HEADER(n, v) { (uint8_t *) (n), (uint8_t *) (v), strlen(n), strlen(v), NGHTTP2_NV_FLAG_NONE }

/* Sends `body` as a gRPC call, and waits until it is answered. */
static int call(struct session *s, const char *method, const struct message *body)
{
	nghttp2_nv headers[] = {
		HEADER(":method", "POST"), HEADER(":scheme", "http"), HEADER(":path", method),
		HEADER(":authority", s->address), HEADER("content-type", "application/grpc"), HEADER("te", "trailers"),
	};
	nghttp2_data_provider provider = { .read_callback = on_request_data };
	uint8_t buffer[4096];

	s->request.bytes[0] = 0; /* not compressed */
	for (unsigned i = 0; i < 4; i++)
		s->request.bytes[1 + i] = (uint8_t) (body->length >> (24 - 8 * i));
	memcpy(s->request.bytes + 5, body->bytes, body->length);
	s->request.length = body->length + 5;
	s->sent = 0;
	s->response.length = 0;
	s->answered = false;
	if (nghttp2_submit_request(s->http, NULL, headers, sizeof headers / sizeof headers[0], &provider, NULL) < 0)
		return bench_fail(EPROTO, "etcd: request");
	while (!s->answered) {
		if (nghttp2_session_send(s->http) < 0)
			return bench_fail(EPROTO, "etcd: send");
		ssize_t got = recv(s->fd, buffer, sizeof buffer, 0);
		if (got <= 0)
			return bench_fail(got < 0 ? errno : ECONNRESET, "etcd: receive");
		if (nghttp2_session_mem_recv(s->http, buffer, (size_t) got) < 0)
			return bench_fail(EPROTO, "etcd: response");
	}
	return s->response.length > 5 ? 0 : bench_fail(EPROTO, "etcd: empty response");
}

/* The target is HOST:PORT. */
static int connect_to(const char *address)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	char host[256];
	int fd, one = 1;

	snprintf(host, sizeof host, "%s", address);
	char *colon = strrchr(host, ':');
	if (!colon)
		return bench_fail(EINVAL, "%s", address);
	*colon = 0;
	if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
		return bench_fail(EADDRNOTAVAIL, "%s", address);
	fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
	if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0)
		fd = bench_fail(errno, "connect %s", address);
	else
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	freeaddrinfo(found);
	return fd;
}

static int open_session(struct session *s, const char *address)
{
	nghttp2_session_callbacks *callbacks;

	s->address = address;
	s->fd = connect_to(address);
	if (s->fd < 0)
		return s->fd;
	if (nghttp2_session_callbacks_new(&callbacks) < 0)
		abort();
	nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_response_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	if (nghttp2_session_client_new(&s->http, callbacks, s) < 0)
		abort();
	nghttp2_session_callbacks_del(callbacks);
	if (nghttp2_submit_settings(s->http, NGHTTP2_FLAG_NONE, NULL, 0) < 0)
		return bench_fail(EPROTO, "etcd: settings");
	return 0;
}

/* ---- the workload ---- */

static int open_etcd(struct bench_client *client)
{
	struct session *s = calloc(1, sizeof *s);
	struct message body;

	if (!s)
		abort();
	int r = open_session(s, client->plan->target);
	if (r < 0)
		return r;
	snprintf(s->key, sizeof s->key, "%s-%u", client->plan->prefix, client->index);
	put_request(s->key, "0", &body);
	client->state = s;
	return call(s, "/etcdserverpb.KV/Put", &body);
}

static int64_t run_etcd(struct bench_client *client, uint64_t turn)
{
	struct session *s = client->state;
	uint64_t wanted = bench_size(client->plan, turn);
	char old[32], new[32];
	struct message body;

	snprintf(old, sizeof old, "%llu", (unsigned long long) s->size);
	snprintf(new, sizeof new, "%llu", (unsigned long long) wanted);
	txn_request(s->key, old, new, &body);
	int r = call(s, "/etcdserverpb.KV/Txn", &body);
	if (r < 0)
		return r;
	if (!succeeded(&s->response))
		return bench_fail(EAGAIN, "etcd: the comparison failed");
	s->size = wanted;
	return 1;
}

const struct bench_workload bench_etcd_workloads[] = {
	{ "etcd", "etcd: one compare-and-put transaction a resize (TARGET is HOST:PORT)", NULL, open_etcd, run_etcd,
	  NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};
