/* See tls.h. */
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#include "tls.h"

enum { CHAIN = 16 };

typedef struct tls_pair {
    gnutls_x509_crt_t chain[CHAIN];
    unsigned n;
    gnutls_x509_privkey_t key;
} tls_pair;

static tls_pair *current;

static void pair_free(tls_pair *p) {
    for (unsigned i = 0; p && i < p->n; i++)
        gnutls_x509_crt_deinit(p->chain[i]);
    if (p && p->key)
        gnutls_x509_privkey_deinit(p->key);
    free(p);
}

static int bad(trm_error *err, const char *file, int r) {
    return trm_fail(err, TRM_E_FORMAT, "%.300s: %s", file, gnutls_strerror(r));
}

static int read_chain(tls_pair *p, const char *file, trm_error *err) {
    gnutls_datum_t pem;
    unsigned n = CHAIN;
    int r = gnutls_load_file(file, &pem);
    if (r < 0)
        return bad(err, file, r);
    r = gnutls_x509_crt_list_import(
        p->chain, &n, &pem, GNUTLS_X509_FMT_PEM, GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
    gnutls_free(pem.data);
    if (r < 0)
        return bad(err, file, r);
    p->n = n;
    return n ? TRM_OK : trm_fail(err, TRM_E_FORMAT, "%.300s: holds no certificate", file);
}

static int read_key(tls_pair *p, const char *file, trm_error *err) {
    gnutls_datum_t pem;
    int r = gnutls_load_file(file, &pem);
    if (r < 0)
        return bad(err, file, r);
    r = gnutls_x509_privkey_init(&p->key);
    if (r == 0)
        r = gnutls_x509_privkey_import2(p->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_free(pem.data);
    return r < 0 ? bad(err, file, r) : TRM_OK;
}

static int check_pair(const tls_pair *p, const char *cert, const char *key, trm_error *err) {
    unsigned char a[64], b[64];
    size_t an = sizeof a, bn = sizeof b;
    int r = gnutls_x509_crt_get_key_id(p->chain[0], GNUTLS_KEYID_USE_SHA256, a, &an);
    if (r == 0)
        r = gnutls_x509_privkey_get_key_id(p->key, GNUTLS_KEYID_USE_SHA256, b, &bn);
    if (r < 0)
        return bad(err, key, r);
    return an == bn && memcmp(a, b, an) == 0
               ? TRM_OK
               : trm_fail(err, TRM_E_FORMAT, "%.200s: is not the key of %.200s", key, cert);
}

static int pair_new(tls_pair **out, const char *cert, const char *key, trm_error *err) {
    tls_pair *p = calloc(1, sizeof *p);
    int r = p ? TRM_OK : trm_fail(err, TRM_E_NOMEM, "out of memory for the TLS certificate");
    if (!r)
        r = read_chain(p, cert, err);
    if (!r)
        r = read_key(p, key, err);
    if (!r)
        r = check_pair(p, cert, key, err);
    if (r)
        pair_free(p);
    else
        *out = p;
    return r;
}

int trmd_tls_check(const char *cert, const char *key, trm_error *err) {
    tls_pair *p = NULL;
    int r = pair_new(&p, cert, key, err);
    pair_free(p);
    return r;
}

int trmd_tls_load(const char *cert, const char *key, trm_error *err) {
    tls_pair *p;
    int r = pair_new(&p, cert, key, err);
    if (r)
        return r;
    pair_free(current);
    current = p;
    return TRM_OK;
}

bool trmd_tls_on(void) {
    return current != NULL;
}

void trmd_tls_unload(void) {
    pair_free(current);
    current = NULL;
}

/* GnuTLS frees what it gets, as the flag tells it. */
int trmd_tls_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
    gnutls_pcert_st **certs, unsigned *n, gnutls_ocsp_data_st **ocsp, unsigned *ocsps,
    gnutls_privkey_t *key, unsigned *flags) {
    (void)session;
    (void)info;
    *ocsp = NULL;
    *ocsps = 0;
    *n = 0;
    *flags = GNUTLS_CERT_RETR_DEINIT_ALL;
    *certs = current ? gnutls_calloc(current->n, sizeof **certs) : NULL;
    if (!*certs || gnutls_privkey_init(key)) {
        gnutls_free(*certs);
        return -1;
    }
    int r = gnutls_privkey_import_x509(*key, current->key, GNUTLS_PRIVKEY_IMPORT_COPY);
    for (; r == 0 && *n < current->n; *n += r == 0)
        r = gnutls_pcert_import_x509(&(*certs)[*n], current->chain[*n], 0);
    if (r == 0)
        return 0;
    while (*n > 0)
        gnutls_pcert_deinit(&(*certs)[--*n]);
    gnutls_free(*certs);
    gnutls_privkey_deinit(*key);
    return -1;
}
