/* The text of a log record, and the checks of what clients may put into one. No state. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "log_line.h"

const char *const log_level_names[LOG_LEVELS] = {"error", "warn", "info", "debug"};

typedef struct line {
    char *at;
    size_t n, room;
    bool full;
} line;

static void put(line *l, const char *text, size_t n) {
    if (l->full || l->room - l->n < n) {
        l->full = true;
        return;
    }
    memcpy(l->at + l->n, text, n);
    l->n += n;
}

static void putf(line *l, const char *fmt, ...) TRM_PRINTF(2, 3);
static void putf(line *l, const char *fmt, ...) {
    char text[128];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    put(l, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* Reads one UTF-8 character; returns its bytes, 0 if it is not well-formed. */
static int character(const unsigned char *s, uint32_t *code) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    int n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (n < 2) {
        *code = s[0];
        return n;
    }
    *code = s[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++) {
        if (s[i] >> 6 != 2)
            return 0;
        *code = *code << 6 | (s[i] & 0x3f);
    }
    return *code < least[n] || *code > 0x10ffff || *code >> 11 == 0x1b ? 0 : n;
}

/* Control characters, line separators, and what turns the direction of writing. */
static bool is_unsafe(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

static void put_quoted(line *l, const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    size_t taken = 0;
    put(l, "\"", 1);
    while (*s && taken < TRMD_LOG_VALUE) {
        uint32_t c;
        int n = character(s, &c);
        if (!n)
            put(l, "\\ufffd", 6);
        else if (c == '"' || c == '\\')
            putf(l, "\\%c", (int)c);
        else if (is_unsafe(c))
            putf(l, "\\u%04x", (unsigned)c);
        else
            put(l, (const char *)s, (size_t)n);
        s += n ? n : 1;
        taken += (size_t)(n ? n : 1);
    }
    put(l, *s ? "...\"" : "\"", *s ? 4 : 1);
}

/* In text form a plain word needs no quotes. */
static void put_text(line *l, const char *text, bool json) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "._:/+@,-";
    size_t n = strspn(text, plain);
    if (json || !n || text[n] || n > TRMD_LOG_VALUE)
        put_quoted(l, text);
    else
        put(l, text, n);
}

static void put_field(line *l, const trmd_field *f, bool json) {
    if (f->kind == TRMD_F_STR && !f->s)
        return;
    size_t before = l->n;
    putf(l, json ? ",\"%s\":" : " %s=", f->name);
    if (f->kind == TRMD_F_STR)
        put_text(l, f->s, json);
    else if (f->kind == TRMD_F_INT)
        putf(l, "%" PRId64, f->i);
    else if (f->kind == TRMD_F_BOOL)
        putf(l, "%s", f->b ? "true" : "false");
    else if (isfinite(f->d))
        putf(l, "%.6g", f->d);
    else
        putf(l, "null");
    if (l->full)
        l->n = before;
}

size_t log_line(char *out, size_t size, bool json, trmd_level level, const char *message,
    const trmd_field *fields) {
    static const char cut_json[] = ",\"cut\":true", cut_text[] = " cut=true";
    line l = {.at = out, .room = size - sizeof cut_json - 2};
    struct timespec now;
    struct tm day;
    char time[32] = "";
    bool cut = false;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &day);
    (void)strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &day);
    putf(&l, json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"msg\":" : "%s.%03ldZ %-5s ", time,
        now.tv_nsec / 1000000, log_level_names[level]);
    if (json)
        put_quoted(&l, message);
    else
        put(&l, message, strcspn(message, "\r\n"));
    for (; fields && fields->name; fields++) {
        put_field(&l, fields, json);
        cut = cut || l.full;
        l.full = false;
    }
    l.room = size;
    if (cut)
        put(&l, json ? cut_json : cut_text, strlen(json ? cut_json : cut_text));
    put(&l, json ? "}\n" : "\n", json ? 2 : 1);
    return l.n;
}

bool trmd_request_id_ok(const char *id) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "._:+/=-";
    size_t n = strspn(id, plain);
    return n >= 1 && n <= TRMD_ID_MAX && !id[n];
}

void trmd_request_id_make(char out[TRMD_ID_ROOM]) {
    unsigned char bytes[16];
    /* never short for so few bytes once the kernel's generator is seeded, which it waits for */
    while (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        ;
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* A run of n lower-case hexadecimal digits, not all of them 0, then `end`. */
static bool hex_run(const char *text, size_t n, char end) {
    return strspn(text, "0123456789abcdef") == n && strspn(text, "0") < n && text[n] == end;
}

bool trmd_traceparent_ok(const char *value) {
    return strlen(value) == 55 && strncmp(value, "00-", 3) == 0 && hex_run(value + 3, 32, '-') &&
           hex_run(value + 36, 16, '-') && strspn(value + 53, "0123456789abcdef") == 2;
}
