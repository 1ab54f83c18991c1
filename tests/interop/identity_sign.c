/* identity_sign dkim|arc KEY.pem DOMAIN SELECTOR CANON [ZONE] <MESSAGE: signs (or seals) the message on standard input with
 * the code that the server has, and writes it to standard output. CANON: simple/relaxed and so on. */
#include <stdio.h>
#include <stdlib.h>

#include "dns/zone.h"
#include "identity/arc.h"
#include "world/file.h"
#include "world/linux.h"

#define MESSAGE_MAX ((size_t) 1024 * 1024)

static int fail(const char *what, int r)
{
	fprintf(stderr, "identity_sign: %s: %s\n", what, strerror(-r));
	return 1;
}

static int seal(struct world *w, const char *zone_file, struct content *m, const struct dkim_key *key, wall_t now, struct arena *a,
		struct buffer *out)
{
	struct arc_sealing how = { .results = "mx.yizhan.example; spf=pass smtp.mailfrom=joe@yizhan.example", .time = now };
	struct dns_config config = { .zone = zone_file };
	struct resolver *resolver;
	struct arc_result verdict;
	char *why;
	int r = resolver_new(w, NULL, &config, &resolver, &why);

	if (r < 0)
		return r;
	r = arc_verify(resolver, m, NULL, 0, now, DEADLINE_NEVER, a, &verdict);
	if (r >= 0)
		r = arc_seal(m, &verdict, key, &how, a, out);
	resolver_free(resolver);
	return r;
}

int main(int argc, char **argv)
{
	struct dkim_signing how = { .header = CANON_RELAXED, .body = CANON_RELAXED };
	struct dkim_key key;
	struct buffer out = { 0 };
	struct content *m;
	struct world *w;
	struct arena *a;
	char *pem, *message = malloc(MESSAGE_MAX);
	size_t len, pem_len;
	int r;

	if (argc < 6 || !message)
		return fail("usage", -EINVAL);
	len = fread(message, 1, MESSAGE_MAX, stdin);
	how.header = strncmp(argv[5], "simple", 6) == 0 ? CANON_SIMPLE : CANON_RELAXED;
	how.body = strstr(argv[5], "/simple") ? CANON_SIMPLE : CANON_RELAXED;
	if (world_linux_new(NULL, &w) < 0 || arena_new(0, &a) < 0 || content_new(a, NULL, false, &m) < 0)
		return fail("start", -ENOMEM);
	how.time = world_wall(w);
	r = file_read_all(w, argv[2], 100000, &pem, &pem_len);
	if (r >= 0)
		r = crypto_private_key(slice_new(pem, pem_len), &key.key);
	if (r < 0)
		return fail(argv[2], r);
	key.domain = argv[3];
	key.selector = argv[4];
	r = strcmp(argv[1], "arc") == 0 ? arc_seal_prepare(m) : dkim_sign_prepare(m, &how);
	if (r >= 0)
		r = content_feed(m, slice_new(message, len));
	if (r >= 0)
		r = content_end(m);
	if (r >= 0)
		r = strcmp(argv[1], "arc") == 0 ? seal(w, argv[6], m, &key, how.time, a, &out) : dkim_sign(m, &key, &how, a, &out);
	if (r < 0)
		return fail("signing", r);
	fwrite(out.data, 1, out.len, stdout);
	fwrite(message, 1, len, stdout);
	buffer_done(&out);
	EVP_PKEY_free(key.key);
	content_free(m);
	arena_free(a);
	world_free(w);
	free(pem);
	free(message);
	return 0;
}
