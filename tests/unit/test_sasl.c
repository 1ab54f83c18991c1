/* The mechanisms, with GNU SASL's own client on the other side: what is decided, and what is left to the caller. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <gsasl.h>

#include "receive/sasl.h"
#include "smtp/extensions.h"
#include "world/file.h"
#include "world/sim.h"

struct fixture {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct users_backend_config backend;
	struct users_config config;
	struct users *users;
	struct Gsasl *server;
	Gsasl *client;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	_cleanup_buffer_ struct buffer text = { 0 };
	struct verifiers v;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 12 }, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "host", "192.0.2.1", &f->host, &f->world), 0);
	assert_int_equal(verifiers_make("pencil", 4096, &v), 0);
	buffer_append_str(&text, "user:");
	verifiers_format(&v, &text);
	verifiers_done(&v);
	buffer_append_str(&text, "\nhashed:$6$salt$hash\n");
	assert_int_equal(file_write_atomically(f->world, "users", buffer_slice(&text), 0600), 0);
	f->backend = (struct users_backend_config) { .kind = BACKEND_FILE, .place = "users" };
	f->config = (struct users_config) { .backends = &f->backend, .n_backends = 1 };
	assert_int_equal(users_new(f->world, NULL, &f->config, &f->users), 0);
	assert_int_equal(sasl_init(&f->server), 0);
	assert_int_equal(gsasl_init(&f->client), GSASL_OK);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	gsasl_done(f->client);
	sasl_done(f->server);
	users_free(f->users);
	world_free(f->world);
	sim_free(f->sim);
	free(f);
	return 0;
}

struct talk {
	const char *user, *password, *as;
	const char *server_binding, *client_binding; /* tls-exporter, as text */
};

static void set_binding(Gsasl_session *s, const char *text)
{
	char *base64;

	assert_int_equal(gsasl_base64_to(text, strlen(text), &base64, NULL), GSASL_OK);
	gsasl_property_set(s, GSASL_CB_TLS_EXPORTER, base64);
	gsasl_free(base64);
}

/* Both sides talk until one of them ends; the client's opinion is in *ret_client. */
static int talk(struct fixture *f, unsigned mechanism, const struct talk *t, struct user *ret_user, int *ret_client)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	Gsasl_session *client;
	struct sasl *x;
	char *message;
	size_t len;
	int r;

	assert_int_equal(sasl_new(f->server, f->world, NULL, f->users, mechanism, &x), 0);
	assert_int_equal(gsasl_client_start(f->client, auth_mechanism_name(mechanism), &client), GSASL_OK);
	gsasl_property_set(client, GSASL_AUTHID, t->user);
	gsasl_property_set(client, GSASL_PASSWORD, t->password);
	if (t->as)
		gsasl_property_set(client, GSASL_AUTHZID, t->as);
	if (t->client_binding)
		set_binding(client, t->client_binding);
	if (t->server_binding)
		assert_int_equal(sasl_set_binding(x, "tls-exporter", slice_from(t->server_binding)), 0);
	for (;;) {
		*ret_client = gsasl_step(client, out.data, out.len, &message, &len);
		if (*ret_client != GSASL_OK && *ret_client != GSASL_NEEDS_MORE) {
			r = -EPROTO;
			break;
		}
		buffer_clear(&out);
		r = sasl_step(x, slice_new(message ? message : "", len), &out);
		gsasl_free(message);
		if (r != SASL_MORE)
			break;
	}
	if (r == SASL_DONE && out.len > 0)
		*ret_client = gsasl_step(client, out.data, out.len, &message, &len);
	if (r == SASL_DONE && out.len > 0 && *ret_client == GSASL_OK)
		gsasl_free(message);
	if (ret_user)
		sasl_take_user(x, ret_user);
	sasl_free(x);
	gsasl_finish(client);
	return r;
}

static void test_scram(void **state)
{
	static const unsigned plain[] = { AUTH_SCRAM_SHA_1, AUTH_SCRAM_SHA_256 };
	struct fixture *f = *state;
	struct user user;
	int client;

	for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
		assert_int_equal(talk(f, plain[i], &(struct talk) { .user = "user", .password = "pencil" }, &user, &client), SASL_DONE);
		assert_int_equal(client, GSASL_OK); /* the server has proved itself */
		assert_string_equal(user.name, "user");
		user_done(&user);
		assert_int_equal(talk(f, plain[i], &(struct talk) { .user = "user", .password = "pen" }, NULL, &client), -EACCES);
		assert_int_equal(talk(f, plain[i], &(struct talk) { .user = "nobody", .password = "pencil" }, NULL, &client), -EACCES);
		assert_int_equal(talk(f, plain[i], &(struct talk) { .user = "hashed", .password = "pencil" }, NULL, &client), -EACCES);
	}
}

static void test_channel_binding(void **state)
{
	static const unsigned plus[] = { AUTH_SCRAM_SHA_1_PLUS, AUTH_SCRAM_SHA_256_PLUS };
	struct fixture *f = *state;
	int client;

	for (size_t i = 0; i < ARRAY_LEN(plus); i++) {
		struct talk t = { .user = "user", .password = "pencil", .server_binding = "this connection", .client_binding = "this connection" };

		assert_int_equal(talk(f, plus[i], &t, NULL, &client), SASL_DONE);
		t.client_binding = "somebody between us";
		assert_int_equal(talk(f, plus[i], &t, NULL, &client), -EACCES);
	}
}

/* RFC 5802 section 6: "y" says that the client could bind and was not offered to. */
static void test_a_client_that_was_shown_no_plus_notices(void **state)
{
	for (int has_binding = 0; has_binding < 2; has_binding++) {
		_cleanup_buffer_ struct buffer out = { 0 };
		struct fixture *f = *state;
		struct sasl *x;

		assert_int_equal(sasl_new(f->server, f->world, NULL, f->users, AUTH_SCRAM_SHA_256, &x), 0);
		if (has_binding)
			assert_int_equal(sasl_set_binding(x, "tls-exporter", SLICE("this connection")), 0);
		assert_int_equal(sasl_step(x, SLICE("y,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"), &out), has_binding ? -EACCES : SASL_MORE);
		sasl_free(x);
	}
}

static void test_a_file_that_can_not_be_read_is_no_refusal(void **state)
{
	struct fixture *f = *state;
	int client;

	assert_int_equal(path_unlink(f->world, "users"), 0);
	assert_int_equal(talk(f, AUTH_SCRAM_SHA_256, &(struct talk) { .user = "user", .password = "pencil" }, NULL, &client), -EAGAIN);
}

/* --- message by message ------------------------------------------------------------------------------------------- */

static int one(struct fixture *f, unsigned mechanism, struct slice message, struct sasl **ret)
{
	_cleanup_buffer_ struct buffer out = { 0 };

	assert_int_equal(sasl_new(f->server, f->world, NULL, f->users, mechanism, ret), 0);
	return sasl_step(*ret, message, &out);
}

static void test_plain_gives_what_was_said(void **state)
{
	struct fixture *f = *state;
	struct sasl *x;

	/* RFC 4616 section 4 */
	assert_int_equal(one(f, AUTH_PLAIN, SLICE("\0tim\0tanstaaftanstaaf"), &x), SASL_DONE);
	assert_string_equal(sasl_user(x), "tim");
	assert_string_equal(sasl_password(x), "tanstaaftanstaaf");
	assert_true(!sasl_authorization(x) || !*sasl_authorization(x) || strcmp(sasl_authorization(x), "tim") == 0);
	sasl_free(x);
	assert_int_equal(one(f, AUTH_PLAIN, SLICE("Ursel\0Kurt\0xipj3plmq"), &x), SASL_DONE);
	assert_string_equal(sasl_authorization(x), "Ursel");
	sasl_free(x);
}

static void test_what_is_not_plain(void **state)
{
	static const struct slice bad[] = { { "x", 1 }, { "\0", 1 }, { "\0a", 2 }, { "a\0b", 3 } };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct sasl *x;

		assert_int_equal(one(f, AUTH_PLAIN, bad[i], &x), -EBADMSG);
		sasl_free(x);
	}
}

static void test_login_asks_twice(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct fixture *f = *state;
	struct sasl *x;

	assert_int_equal(sasl_new(f->server, f->world, NULL, f->users, AUTH_LOGIN, &x), 0);
	assert_int_equal(sasl_step(x, SLICE_NULL, &out), SASL_MORE);
	assert_string_equal(out.data, "Username:");
	buffer_clear(&out);
	assert_int_equal(sasl_step(x, SLICE("tim"), &out), SASL_MORE);
	assert_string_equal(out.data, "Password:");
	assert_int_equal(sasl_step(x, SLICE("secret"), &out), SASL_DONE);
	assert_string_equal(sasl_user(x), "tim");
	assert_string_equal(sasl_password(x), "secret");
	sasl_free(x);
}

static void test_a_mechanism_that_the_library_lacks(void **state)
{
	struct fixture *f = *state;
	struct sasl *x;

	assert_int_equal(sasl_new(f->server, f->world, NULL, f->users, AUTH_OAUTHBEARER, &x), -EOPNOTSUPP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_scram, setup, teardown),
		cmocka_unit_test_setup_teardown(test_channel_binding, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_client_that_was_shown_no_plus_notices, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_file_that_can_not_be_read_is_no_refusal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plain_gives_what_was_said, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_not_plain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_login_asks_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_mechanism_that_the_library_lacks, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
