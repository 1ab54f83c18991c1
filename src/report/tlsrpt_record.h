/* The text of a record _smtp._tls (RFC 8460 section 3). Pure. */
#pragma once

#include "base/slice.h"

/* Does it begin with "v=TLSRPTv1;"? What doesn't is discarded before they are counted. */
bool tlsrpt_record_is(struct slice text);
/* Gives the list in rua=, which lies in the text. Fields that are not known are passed over. -EINVAL: it is not made of
 * fields, or has no rua. */
int tlsrpt_record_parse(struct slice text, struct slice *ret_rua);
