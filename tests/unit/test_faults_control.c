/* The control socket, each of whose allocations fails once while an administrator asks and steers: an answer that says
 * "ok" is complete, and what it says was done was done; anything else is an error with its reason, or the end of the
 * connection. The next command is answered as if nothing had been. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "admin/control.h"
#include "faults/faults.h"
#include "unit/queue_office.h"

#define SOCKET "/control.sock"
#define MESSAGES 4u
#define ROWS_MAX 64u

/* One walk at a time. */
static struct {
	struct fiber *client;
	struct control *control;
	msgid_t ids[MESSAGES];
	unsigned reloads;
} it;

struct answer {
	int lines;      /* rows and the end; -1: the connection ended */
	bool ok;
	json_t *rows[ROWS_MAX], *end;
};

static void answer_done(struct answer *a)
{
	for (int i = 0; i < a->lines - 1; i++)
		json_decref(a->rows[i]);
	json_decref(a->end);
}

/* --- the administrator ------------------------------------------------------------------------------------------ */

static struct stream *connect_to_socket(void)
{
	struct endpoint at = { .kind = ENDPOINT_UNIX, .path = SOCKET };
	struct stream *stream = NULL;
	struct transport *t;

	if (net_connect(&at, NULL, now() + USEC_MIN, &t) == 0)
		assert_int_equal(stream_new(t, &at, &stream), 0);
	return stream;
}

/* One line of JSON, or NULL at the end. */
static json_t *read_json(struct stream *stream)
{
	for (;;) {
		struct slice in = stream_peek(stream);
		ssize_t end = slice_find(in, '\n');

		if (end >= 0) {
			json_t *o = json_loadb(in.data, (size_t) end, 0, NULL);

			faults_check(json_is_object(o));
			stream_consume(stream, (size_t) end + 1);
			return o;
		}
		if (stream_fill(stream, now() + 10 * USEC_MIN) <= 0) {
			faults_check(stream_peek(stream).len == 0 || faults_fired());
			return NULL;
		}
	}
}

static void ask(const char *request, struct answer *ret)
{
	struct stream *stream = connect_to_socket();
	json_t *o = NULL;

	*ret = (struct answer) { .lines = -1 };
	if (!stream)
		return;
	if (stream_put_str(stream, request, now() + USEC_MIN) >= 0 && stream_put_str(stream, "\n", now() + USEC_MIN) >= 0 &&
	    stream_flush(stream, now() + USEC_MIN) >= 0) {
		ret->lines = 0;
		while ((o = read_json(stream)) && json_object_get(o, "row")) {
			assert_true(ret->lines < (int) ROWS_MAX);
			ret->rows[ret->lines++] = o;
		}
		ret->lines++;
		ret->end = o;
	}
	stream_free(stream);
	/* A refusal says why; an end without either would leave the administrator guessing. */
	ret->ok = json_is_true(json_object_get(o, "ok"));
	if (o && !ret->ok)
		faults_check(json_is_false(json_object_get(o, "ok")) && json_string_length(json_object_get(o, "error")) > 0);
}

/* --- is it whole? ------------------------------------------------------------------------------------------------- */

/* The same members everywhere, and lists of the same length. Values may have moved on, but for names. */
static bool same_shape(const json_t *a, const json_t *b)
{
	const char *key;
	json_t *value;
	bool same = json_typeof(a) == json_typeof(b) || (json_is_boolean(a) && json_is_boolean(b));

	if (same && json_is_object(a)) {
		same = json_object_size(a) == json_object_size(b);
		json_object_foreach((json_t *) (uintptr_t) a, key, value)
			same = same && json_object_get(b, key) && same_shape(value, json_object_get(b, key));
	} else if (same && json_is_array(a)) {
		same = json_array_size(a) == json_array_size(b);
		for (size_t i = 0; same && i < json_array_size(a); i++)
			same = same_shape(json_array_get(a, i), json_array_get(b, i));
	}
	return same;
}

static bool same_answer(const struct answer *a, const struct answer *b)
{
	if (a->lines != b->lines || !same_shape(a->end, b->end))
		return false;
	for (int i = 0; i < a->lines - 1; i++)
		if (!same_shape(a->rows[i], b->rows[i]))
			return false;
	return true;
}

/* --- asking --------------------------------------------------------------------------------------------------------- */

#define QUESTIONS 13u

static void write_questions(char questions[QUESTIONS][160])
{
	static const char *const texts[QUESTIONS] = {
		"{\"command\":\"status\"}",
		"{\"command\":\"queue.list\"}",
		"{\"command\":\"queue.list\",\"sender\":\"b@*\",\"site\":\"mx:mx.dead.example\"}",
		"{\"command\":\"queue.list\",\"id\":\"nonsense\"}",
		"{\"command\":\"queue.show\",\"id\":\"%s\"}",
		"{\"command\":\"queue.summary\"}",
		"{\"command\":\"sites\"}",
		"{\"command\":\"trace\",\"id\":\"%s\"}",
		"{\"command\":\"route\",\"to\":\"x@one.example\",\"from\":\"a@sender.example\"}",
		"{\"command\":\"route\",\"to\":\"ladder@dead.example\"}",
		"{\"command\":\"journal.flush\"}",
		"{\"command\":\"reload\"}",
		"{\"command\":\"wurst\"}",
	};
	char id[MSGID_TEXT];

	id_format(it.ids[0], id);
	for (unsigned i = 0; i < QUESTIONS; i++) {
		struct slice rest, head = slice_cut(slice_from(texts[i]), '%', &rest);

		snprintf(questions[i], 160, "%.*s%s%.*s", SLICE_ARG(head), rest.data ? id : "", rest.data ? (int) rest.len - 1 : 0,
			 rest.data ? rest.data + 1 : "");
	}
}

static bool in_the_server(void *context)
{
	return loop_current() && fiber_self() != it.client;
}

static void check_answer(const char *question, const struct answer *expected, const struct answer *answer)
{
	if (answer->end && answer->ok == expected->ok && same_answer(expected, answer))
		return;
	print_message("%s\n", question);
	for (int i = 0; i < answer->lines - 1; i++)
		json_dumpf(answer->rows[i], stdout, JSON_COMPACT);
	json_dumpf(answer->end, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
	faults_check(!"the answer is whole");
}

static void ask_everything(struct office *s)
{
	static struct answer reference[QUESTIONS]; /* too large for a frame */
	static char questions[QUESTIONS][160];
	static struct answer answer;

	write_questions(questions);
	for (unsigned i = 0; i < QUESTIONS; i++) {
		ask(questions[i], &reference[i]);
		if (!reference[i].end)
			fail_msg("no answer to %s", questions[i]);
	}
	assert_int_equal(it.reloads, 1);
	for (unsigned round = 0; round < 2; round++) {
		if (round == 0)
			faults_begin(in_the_server, NULL);
		for (unsigned i = 0; i < QUESTIONS; i++) {
			ask(questions[i], &answer);
			if (json_object_get(answer.end, "unreadable_lines"))
				faults_check(round == 0 && faults_fired()); /* then the answer says that it isn't whole */
			else if (answer.ok || !faults_fired() || round == 1)
				check_answer(questions[i], &reference[i], &answer);
			answer_done(&answer);
		}
		faults_end();
	}
	for (unsigned i = 0; i < QUESTIONS; i++)
		answer_done(&reference[i]);
}

/* --- steering ------------------------------------------------------------------------------------------------------- */

/* What the queue says of a message. */
struct state {
	msgid_t id;
	bool there, held;
};

static int note_state(const struct queue_row *row, void *context)
{
	struct state *state = context;

	if (row->id == state->id) {
		state->there = true;
		state->held = row->recipients[0].status == RECIPIENT_HELD;
	}
	return 0;
}

static struct state look(struct office *s, unsigned i)
{
	struct state state = { .id = it.ids[i] };

	faults_pause();
	assert_int_equal(queue_list(s->queue, &(struct queue_filter) { 0 }, note_state, &state), 0);
	faults_resume();
	return state;
}

/* Returns whether it was said to be done, to one message. */
static bool order(const char *command, unsigned message)
{
	char request[160], id[MSGID_TEXT];
	struct answer answer;
	bool done;

	snprintf(request, sizeof(request), "{\"command\":\"queue.%s\",\"id\":\"%s\"}", command, id_format(it.ids[message], id));
	ask(request, &answer);
	done = answer.ok;
	if (done)
		faults_check(json_integer_value(json_object_get(answer.end, "messages")) == 1);
	answer_done(&answer);
	return done;
}

/* An order that was not said to be done may have been done all the same, and is given again. */
static void order_until_done(const char *command, unsigned message)
{
	for (unsigned i = 0; i < 6; i++) {
		if (order(command, message))
			return;
		faults_check(faults_fired());
	}
	faults_check(!"an order is obeyed in the end");
}

static void steer(struct office *s)
{
	faults_begin(in_the_server, NULL);
	order_until_done("hold", 0);
	office_wait(2 * USEC_MIN); /* it is read from the disk for that, and again after a while when that failed */
	faults_check(look(s, 0).held);
	order_until_done("release", 0);
	office_wait(2 * USEC_MIN);
	faults_check(look(s, 0).there && !look(s, 0).held);
	order_until_done("retry", 0);
	order_until_done("hold", 1);
	(void) order("remove", 2);
	(void) order("bounce", 3);
	faults_end();
	office_wait(2 * USEC_MIN);
	if (look(s, 2).there)
		faults_check(faults_fired() && order("remove", 2));
	if (look(s, 3).there)
		faults_check(faults_fired() && order("bounce", 3));
	office_wait(2 * USEC_MIN);
	faults_check(look(s, 0).there && look(s, 1).held && !look(s, 2).there && !look(s, 3).there);
	faults_check(office_events(s, EVENT_FAILED) == 1 && office_events(s, EVENT_BOUNCED) == 1 && office_events(s, EVENT_REMOVED) == 1);
}

/* --- the scene ------------------------------------------------------------------------------------------------------ */

static void not_now(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (strcmp(info->site, "mx:mx.sender.example") == 0)
		r->outcome = (struct outcome) { .kind = OUTCOME_DELIVERED, .from_remote = true, .stage = STAGE_DOT, .reply = { 250, { 2, 0, 0 }, "OK" } };
	else
		answer_fault(r, STAGE_CONNECT, "Connection refused");
}

static void close_control(struct office *s)
{
	control_free(TAKE_PTR(it.control));
}

static void prepare(struct office *s)
{
	s->halted = close_control;
	s->answer = not_now;
	s->wants_journal = true;
}

static void count_traffic(struct admin_traffic *ret, void *context)
{
	*ret = (struct admin_traffic) { .connections = 1 };
}

static int take_request(enum admin_request what, char **ret_why, void *context)
{
	assert_int_equal(what, ADMIN_RELOAD);
	it.reloads++;
	return 0;
}

static void run_body(struct office *s, void (*work)(struct office *s))
{
	struct admin_parts parts = {
		.version = "1", .hostname = "us.example", .spool_path = "/spool", .config_file = "/etc/yizhan.yaml", .queue = s->queue,
		.router = s->router, .spool = s->spool, .journal = s->journal, .loops = s->loops, .n_loops = 2, .traffic = count_traffic,
		.request = take_request,
	};
	struct endpoint at = { .kind = ENDPOINT_UNIX, .path = SOCKET };
	char *why = NULL;

	assert_int_equal(control_new(s->world, &s->log, &at, &parts, s->loops[0], &it.control, &why), 0);
	assert_int_equal(control_start(it.control), 0);
	it.client = fiber_self();
	it.reloads = 0;
	for (unsigned i = 0; i < MESSAGES; i++) {
		it.ids[i] = office_submit(s, i % 2 ? "a@sender.example" : "b@sender.example", "x@dead.example");
		office_wait(USEC_SEC);
	}
	work(s);
}

static void asking(struct office *s)
{
	run_body(s, ask_everything);
}

static void steering(struct office *s)
{
	run_body(s, steer);
}

static void play(void *context)
{
	office_play(prepare, *(void (**)(struct office *s)) context, NULL);
}

static void walk(const char *name, void (*body)(struct office *s), uint64_t most, uint64_t least)
{
	struct faults_walk w = { .name = name, .scenario = play, .context = &body, .most = most, .times = 1 };

	assert_true(faults_enough(faults_walk(&w), least));
	w.times = 3;
	w.most = most / 3;
	assert_true(faults_enough(faults_walk(&w), least / 3));
}

static void test_an_answer_is_whole_or_an_error(void **state)
{
	walk("questions", asking, 600, 300);
}

static void test_an_order_that_is_said_to_be_done_is_done(void **state)
{
	walk("orders", steering, 200, 50);
}

int main(void)
{
#define T(name) cmocka_unit_test_teardown(name, faults_teardown)
	const struct CMUnitTest tests[] = { T(test_an_answer_is_whole_or_an_error), T(test_an_order_that_is_said_to_be_done_is_done) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
