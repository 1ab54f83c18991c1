/* Streams over real sockets: order, buffers, deadlines, files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "world/fiber.h"
#include "world/file.h"
#include "world/linux.h"
#include "world/stream.h"

struct fixture {
	struct world *world;
	struct loop *loop;
	struct listener *listener;
	void (*fn)(struct fixture *f, struct stream *client, struct stream *server);
	_Atomic int done;
};

static struct stream *open_client(struct fixture *f)
{
	struct transport *t;
	struct stream *s;

	assert_int_equal(net_connect(listener_endpoint(f->listener), NULL, now() + USEC_SEC, &t), 0);
	assert_int_equal(stream_new(t, listener_endpoint(f->listener), &s), 0);
	return s;
}

static struct stream *open_server(struct fixture *f)
{
	struct endpoint peer;
	struct transport *t;
	struct stream *s;

	assert_int_equal(listener_accept(f->listener, now() + USEC_SEC, &t, &peer), 0);
	assert_int_equal(stream_new(t, &peer, &s), 0);
	return s;
}

static void pair_main(void *arg)
{
	struct fixture *f = arg;
	{
		_cleanup_(stream_freep) struct stream *client = open_client(f), *server = open_server(f);

		f->fn(f, client, server);
	}
	__atomic_store_n(&f->done, 1, __ATOMIC_SEQ_CST);
}

static void with_pair_on(const char *address, void (*fn)(struct fixture *, struct stream *, struct stream *))
{
	struct fixture f = { .fn = fn };
	struct endpoint e;
	struct timespec pause = { .tv_nsec = 200000 };

	assert_int_equal(endpoint_parse(slice_from(address), &e), 0);
	assert_int_equal(world_linux_new(NULL, &f.world), 0);
	assert_int_equal(loop_new(f.world, "t", 0, 0, &f.loop), 0);
	assert_int_equal(loop_start(f.loop), 0);
	assert_int_equal(listener_open(f.world, &e, NULL, &f.listener), 0);
	assert_int_equal(loop_spawn(f.loop, "pair", pair_main, &f), 0);
	for (unsigned i = 0; i < 100000 && !__atomic_load_n(&f.done, __ATOMIC_SEQ_CST); i++)
		nanosleep(&pause, NULL);
	assert_true(f.done);
	loop_stop(f.loop);
	listener_close(f.listener);
	loop_free(f.loop);
	world_free(f.world);
}

static void with_pair(void (*fn)(struct fixture *, struct stream *, struct stream *))
{
	with_pair_on("127.0.0.1:0", fn);
	with_pair_on("[::1]:0", fn);
}

static void greet(struct fixture *f, struct stream *client, struct stream *server)
{
	assert_int_equal(stream_put_str(server, "220 hello\r\n", now() + USEC_SEC), 0);
	assert_int_equal(stream_flush(server, now() + USEC_SEC), 0);
	assert_int_equal(stream_fill(client, now() + USEC_SEC), 11);
	assert_true(slice_eq_str(stream_peek(client), "220 hello\r\n"));
	stream_consume(client, 4);
	assert_true(slice_eq_str(stream_peek(client), "hello\r\n"));
	stream_consume(client, 7);
	assert_int_equal(stream_put_str(client, "QUIT\r\n", now() + USEC_SEC), 0);
	assert_int_equal(stream_fill(client, now() + 10 * USEC_MS), -ETIMEDOUT); /* and has flushed */
	assert_int_equal(stream_fill(server, now() + USEC_SEC), 6);
	assert_int_equal(server->peer.ip.family, listener_endpoint(f->listener)->ip.family);
}

static void test_bytes_arrive_and_an_idle_wait_times_out(void **state)
{
	with_pair(greet);
}

static void idle_holds_nothing(struct fixture *f, struct stream *client, struct stream *server)
{
	assert_int_equal(stream_fill(server, now() + 5 * USEC_MS), -ETIMEDOUT);
	assert_null(server->in);
	assert_null(server->out);
}

static void test_an_idle_stream_holds_no_buffer(void **state)
{
	with_pair(idle_holds_nothing);
}

static void close_is_end(struct fixture *f, struct stream *client, struct stream *server)
{
	assert_int_equal(stream_put_str(client, "last", now() + USEC_SEC), 0);
	assert_int_equal(stream_flush(client, now() + USEC_SEC), 0);
	client->transport->ops->shutdown(client->transport);
	assert_int_equal(stream_fill(server, now() + USEC_SEC), 4);
	assert_int_equal(stream_fill(server, now() + USEC_SEC), 0);
	assert_int_equal(stream_fill(server, now() + USEC_SEC), 0);
	assert_true(slice_eq_str(stream_peek(server), "last"));
}

static void test_the_end_of_the_stream_comes_after_the_last_byte(void **state)
{
	with_pair(close_is_end);
}

#define BULK (4u * 1024 * 1024)

static void bulk_writer(void *arg)
{
	struct stream *s = arg;
	uint32_t value = 0;

	for (size_t sent = 0; sent < BULK; sent += sizeof(value), value++)
		assert_int_equal(stream_put(s, slice_new((char *) &value, sizeof(value)), now() + 10 * USEC_SEC), 0);
	assert_int_equal(stream_flush(s, now() + 10 * USEC_SEC), 0);
}

static void bulk(struct fixture *f, struct stream *client, struct stream *server)
{
	uint32_t expected = 0, got;
	size_t received = 0;

	assert_int_equal(fiber_spawn("writer", bulk_writer, client, NULL), 0);
	while (received < BULK) {
		struct slice in;

		assert_true(stream_fill(server, now() + 10 * USEC_SEC) > 0);
		in = stream_peek(server);
		while (in.len >= sizeof(got)) {
			memcpy(&got, in.data, sizeof(got));
			assert_int_equal(got, expected);
			expected++;
			in = slice_skip(in, sizeof(got));
			stream_consume(server, sizeof(got));
			received += sizeof(got);
		}
	}
}

static void test_megabytes_keep_their_order_through_full_buffers(void **state)
{
	with_pair(bulk);
}

static void full_buffer(struct fixture *f, struct stream *client, struct stream *server)
{
	char block[1024] = { 0 };

	for (unsigned i = 0; i < STREAM_BUFFER / sizeof(block) + 1; i++)
		assert_int_equal(stream_put(client, slice_new(block, sizeof(block)), now() + USEC_SEC), 0);
	assert_int_equal(stream_flush(client, now() + USEC_SEC), 0);
	while (stream_peek(server).len < STREAM_BUFFER)
		assert_true(stream_fill(server, now() + USEC_SEC) > 0);
	assert_int_equal(stream_fill(server, now() + USEC_SEC), -ENOBUFS);
	stream_consume(server, 1);
	assert_true(stream_fill(server, now() + USEC_SEC) > 0);
}

static void test_a_full_input_buffer_says_so(void **state)
{
	with_pair(full_buffer);
}

static void sends_file(struct fixture *f, struct stream *client, struct stream *server)
{
	char path[] = "/tmp/yizhan-test-XXXXXX";
	_cleanup_(file_closep) struct file *file = NULL;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "0123456789", 10), 10);
	close(fd);
	assert_int_equal(file_open(f->world, path, FILE_READ, 0, &file), 0);
	assert_int_equal(stream_put_str(client, "<", now() + USEC_SEC), 0);
	assert_int_equal(stream_send_file(client, file, 2, 5, now() + USEC_SEC), 0);
	assert_int_equal(stream_put_str(client, ">", now() + USEC_SEC), 0);
	assert_int_equal(stream_flush(client, now() + USEC_SEC), 0);
	while (stream_peek(server).len < 7)
		assert_true(stream_fill(server, now() + USEC_SEC) > 0);
	assert_true(slice_eq_str(stream_peek(server), "<23456>"));
	assert_int_equal(stream_send_file(client, file, 8, 5, now() + USEC_SEC), -ENODATA);
	unlink(path);
}

static void test_part_of_a_file_goes_out_in_its_place(void **state)
{
	with_pair(sends_file);
}

static void refused(struct fixture *f, struct stream *client, struct stream *server)
{
	struct endpoint to = *listener_endpoint(f->listener);
	struct transport *t = NULL;

	listener_close(f->listener);
	assert_int_equal(net_connect(&to, NULL, now() + USEC_SEC, &t), -ECONNREFUSED);
	assert_null(t);
	assert_int_equal(listener_open(f->world, &to, NULL, &f->listener), 0);
}

static void test_a_port_without_a_listener_refuses(void **state)
{
	with_pair(refused);
}

/* More than a packet holds, so that a part of it leaves before the end is known. */
static void last_words(struct fixture *f, struct stream *client, struct stream *server)
{
	static const char words[100 * 1000] = "221 Bye";
	size_t lengths[] = { 7, 5000, sizeof(words) }, got;

	for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
		_cleanup_(stream_freep) struct stream *to = open_client(f);
		struct stream *from = open_server(f);
		usec_t began = now();
		ssize_t n;

		for (size_t put = 0; put < lengths[i]; put += MIN((size_t) 1000, lengths[i] - put))
			assert_int_equal(stream_put(from, slice_new(words + put, MIN((size_t) 1000, lengths[i] - put)), now() + USEC_SEC), 0);
		assert_int_equal(stream_flush_last(from, now() + USEC_SEC), 0);
		assert_int_equal(from->bytes_out, lengths[i]);
		stream_free(from);
		for (got = 0; (n = stream_fill(to, now() + USEC_SEC)) > 0; got += (size_t) n)
			stream_consume(to, (size_t) n);
		assert_int_equal(n, 0);
		assert_int_equal(got, lengths[i]);
		assert_true(now() - began < 150 * USEC_MS); /* nothing is kept back for want of more */
	}
}

static void test_the_last_bytes_leave_with_the_end(void **state)
{
	with_pair(last_words);
}

static void many_connect(struct fixture *f, struct stream *client, struct stream *server)
{
	struct stream *clients[50], *servers[50];
	struct endpoint peer;
	struct transport *t;

	for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
		clients[i] = open_client(f);
	for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
		servers[i] = open_server(f);
	assert_int_equal(listener_accept(f->listener, now() + 5 * USEC_MS, &t, &peer), -ETIMEDOUT);
	for (unsigned i = 0; i < ARRAY_LEN(clients); i++) {
		stream_free(clients[i]);
		assert_int_equal(stream_fill(servers[i], now() + USEC_SEC), 0);
		stream_free(servers[i]);
	}
}

static void test_connections_that_come_together_are_all_taken(void **state)
{
	with_pair(many_connect);
}

static usec_t processor_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (usec_t) t.tv_sec * USEC_SEC + (usec_t) t.tv_nsec / 1000;
}

static void nobody_takes(struct fixture *f, struct stream *client, struct stream *server)
{
	struct stream *waiting = open_client(f), *taken;
	usec_t began = processor_time();

	assert_int_equal(fiber_sleep_until(now() + 200 * USEC_MS), 0);
	assert_true(processor_time() - began < 50 * USEC_MS);
	taken = open_server(f);
	stream_free(waiting);
	stream_free(taken);
}

static void test_a_connection_that_nobody_takes_costs_nothing(void **state)
{
	with_pair(nobody_takes);
}

static void test_unix_sockets_work_and_leave_no_file(void **state)
{
	char directory[] = "/tmp/yizhan-test-XXXXXX", address[64];

	assert_non_null(mkdtemp(directory));
	snprintf(address, sizeof(address), "unix:%s/s", directory);
	with_pair_on(address, greet);
	assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_arrive_and_an_idle_wait_times_out),
		cmocka_unit_test(test_an_idle_stream_holds_no_buffer),
		cmocka_unit_test(test_the_end_of_the_stream_comes_after_the_last_byte),
		cmocka_unit_test(test_megabytes_keep_their_order_through_full_buffers),
		cmocka_unit_test(test_a_full_input_buffer_says_so),
		cmocka_unit_test(test_part_of_a_file_goes_out_in_its_place),
		cmocka_unit_test(test_a_port_without_a_listener_refuses),
		cmocka_unit_test(test_the_last_bytes_leave_with_the_end),
		cmocka_unit_test(test_connections_that_come_together_are_all_taken),
		cmocka_unit_test(test_a_connection_that_nobody_takes_costs_nothing),
		cmocka_unit_test(test_unix_sockets_work_and_leave_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
