/* Who shows this certificate? For EXTERNAL (RFC 4422 appendix A): the client has proved in the TLS handshake that the key is its
 * own; the configuration says whose key it is. */
#pragma once

#include "tls/tls.h"
#include "users/users.h"

/* wanted: the user that the client wants to be; empty: whoever it is. The first of the rules that fits counts; NULL: none does.
 * The name lies in the configuration or in *tls. */
const char *external_user(const struct users_config *config, const struct tls_info *tls, struct slice wanted);
