#include "tls/pem.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "world/file.h"

#define PEM_SIZE_MAX ((size_t) 4 * 1024 * 1024)

int pem_fail(int error, char **ret_why, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (vasprintf(ret_why, format, ap) < 0)
		*ret_why = NULL;
	va_end(ap);
	return error;
}

const char *pem_reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text ? text : "unknown reason";
}

bool pem_at_end(void)
{
	unsigned long e = ERR_peek_last_error();

	return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

void pem_file_done(struct pem_file *f)
{
	BIO_free(f->bio);
	if (f->text)
		OPENSSL_cleanse(f->text, f->len);
	free(f->text);
}

int pem_file_open(struct world *w, const char *path, struct pem_file *f, char **ret_why)
{
	int r;

	r = file_read_all(w, path, PEM_SIZE_MAX, &f->text, &f->len);
	if (r < 0)
		return pem_fail(r, ret_why, "%s: cannot be read: %s", path, strerror(-r));
	f->bio = BIO_new_mem_buf(f->text, (int) f->len);
	return f->bio ? 0 : -ENOMEM;
}
