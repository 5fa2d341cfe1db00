/* Any bytes as what a client sends: through libmicrohttpd into trmd's own handler, over a real
 * socket. The queue has no place, so that a request that is let in ends with a 429 and the run
 * needs neither engine nor thread; bodies are fuzz_request's business. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http.h"
#include "peers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static trmd_app app;

static char *keys_file(void) {
    static char path[] = "/tmp/trmd-fuzz-XXXXXX";
    /* the key is "key" */
    static const char line[] =
        "me:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683\n";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, line, sizeof line - 1) != (ssize_t)(sizeof line - 1))
        abort();
    (void)close(fd);
    return path;
}

static void set_up(void) {
    char *argv[] = {"trmd", "--access-log=false", "--rate-limit=1000000",
        "--cors-origins=https://a.example", NULL};
    const trmd_pool_options o = {.queue_puzzles = 0, .queue_bytes = 1 << 20};
    trmd_door *d = &app.door[TRMD_PUBLIC];
    trm_model *none[1];
    trm_error err;
    char *keys = keys_file();
    if (trmd_options_parse(&app.o, 4, argv, NULL, &err) || trmd_metrics_new(&app.metrics, &err) ||
        trmd_auth_open(&app.auth, keys, &err) ||
        trmd_ratelimit_new(&app.limit, 1e6, 1000000, 16, &err) ||
        trmd_pool_new(&app.pool, none, 0, &o, &err) || uv_loop_init(&app.loop))
        abort();
    (void)unlink(keys);
    (void)uv_timer_init(&app.loop, &app.patience_timer);
    (void)uv_timer_init(&app.loop, &app.peers_timer);
    d->app = &app;
    d->http = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME,
        0, NULL, NULL, trmd_http_handle, d, MHD_OPTION_NOTIFY_COMPLETED, trmd_http_completed, &app,
        MHD_OPTION_NOTIFY_CONNECTION, trmd_peer_notify, &app, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)16 * 1024, MHD_OPTION_END);
    if (!d->http)
        abort();
}

static unsigned open_connections(void) {
    return MHD_get_daemon_info(app.door[TRMD_PUBLIC].http, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)
        ->num_connections;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sockaddr from = {.sa_family = AF_UNIX};
    static char sink[1 << 16];
    int fd[2];
    if (!app.metrics)
        set_up();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd))
        abort();
    if (MHD_add_connection(app.door[TRMD_PUBLIC].http, fd[0], &from, sizeof from) != MHD_YES)
        abort();
    (void)!write(fd[1], data, size);
    (void)shutdown(fd[1], SHUT_WR);
    for (int i = 0; i < 50 && open_connections(); i++) {
        (void)MHD_run(app.door[TRMD_PUBLIC].http);
        while (read(fd[1], sink, sizeof sink) > 0)
            ;
    }
    (void)close(fd[1]);
    for (int i = 0; i < 50 && open_connections(); i++)
        (void)MHD_run(app.door[TRMD_PUBLIC].http);
    if (open_connections())
        abort(); /* a request that nothing can end */
    return 0;
}
