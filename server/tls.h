/* TLS: one certificate chain and key for the process, replaced while connections live.
 *
 * GnuTLS through libmicrohttpd asks for them at each handshake and gets copies, so a
 * handshake under way keeps what it began with. Loop thread only. */
#ifndef TRMD_TLS_H
#define TRMD_TLS_H

#include <gnutls/abstract.h>
#include <stdbool.h>

#include "trm/error.h"

#define TRMD_TLS_PRIORITIES "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"

/* Reads PEM files and checks that they fit; on an error what was loaded before stays. */
int trmd_tls_load(const char *cert, const char *key, trm_error *err);
/* The same without taking them; any thread. */
int trmd_tls_check(const char *cert, const char *key, trm_error *err);
bool trmd_tls_on(void);
void trmd_tls_unload(void);
/* For MHD_OPTION_HTTPS_CERT_CALLBACK2. */
gnutls_certificate_retrieve_function3 trmd_tls_retrieve;

#endif
