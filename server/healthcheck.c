/* `trmd --healthcheck`, for containers without curl: asks a running daemon for /readyz. Blocks;
 * the main thread of a process of its own. */
#include <gnutls/gnutls.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "healthcheck.h"

enum { PATIENCE_S = 4, STATUS_LINE = 12 };

static const char ask[] = "GET /readyz HTTP/1.1\r\nHost: trmd\r\nConnection: close\r\n\r\n";

static int connect_to(const trmd_options *o) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char port[16];
    bool any = strcmp(o->host, "0.0.0.0") == 0, any6 = strcmp(o->host, "::") == 0;
    (void)snprintf(port, sizeof port, "%d", o->port);
    if (getaddrinfo(any ? "127.0.0.1" : any6 ? "::1" : o->host, port, &hints, &found))
        return -1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = PATIENCE_S};
    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen)) {
        (void)close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

static bool plain_answer(int fd, char *answer) {
    return write(fd, ask, sizeof ask - 1) == (ssize_t)(sizeof ask - 1) &&
           recv(fd, answer, STATUS_LINE, MSG_WAITALL) == STATUS_LINE;
}

static bool say(gnutls_session_t s, char *answer) {
    int r;
    do
        r = gnutls_handshake(s);
    while (r == GNUTLS_E_INTERRUPTED);
    if (r < 0 || gnutls_record_send(s, ask, sizeof ask - 1) != (ssize_t)(sizeof ask - 1))
        return false;
    for (size_t n = 0; n < STATUS_LINE;) {
        ssize_t k = gnutls_record_recv(s, answer + n, STATUS_LINE - n);
        if (k <= 0)
            return false;
        n += (size_t)k;
    }
    return true;
}

/* The certificate is not checked: this process asks its own twin, by address. */
static bool tls_answer(int fd, char *answer) {
    gnutls_session_t s;
    gnutls_certificate_credentials_t none;
    if (gnutls_certificate_allocate_credentials(&none))
        return false;
    bool ok = gnutls_init(&s, GNUTLS_CLIENT) == 0;
    if (ok) {
        ok = gnutls_set_default_priority(s) == 0 &&
             gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, none) == 0;
        gnutls_transport_set_int(s, fd);
        gnutls_handshake_set_timeout(s, PATIENCE_S * 1000);
        ok = ok && say(s, answer);
        gnutls_deinit(s);
    }
    gnutls_certificate_free_credentials(none);
    return ok;
}

int trmd_healthcheck(const trmd_options *o) {
    char answer[STATUS_LINE + 1] = "";
    int fd = connect_to(o);
    if (fd < 0) {
        fprintf(stderr, "trmd: nothing listens on %s port %d\n", o->host, o->port);
        return 1;
    }
    bool ok = o->tls_cert[0] ? tls_answer(fd, answer) : plain_answer(fd, answer);
    (void)close(fd);
    ok = ok && strncmp(answer + 9, "200", 3) == 0;
    if (!ok)
        fprintf(stderr, "trmd: not ready\n");
    return ok ? 0 : 1;
}
