/* replay: send the requests of an access log again.
 *
 *     replay LOG URL KEY      URL: http://127.0.0.1:PORT/prefix
 *
 * Each line's method and target (behind the prefix) go out once, as they stand, with Authorization: Bearer KEY, over a few
 * connections that are kept alive; a request whose connection was closed before any byte of an answer came is sent again.
 * Prints how many were answered with which status. Exit 1 when a request stayed without an answer. Only to loopback.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mpx_clf.h"

#define LINE_MAX_BYTES 65536
#define TRIES 3
#define TIMEOUT_S 10

static struct sockaddr_in server;
static const char *prefix, *key, *host;
static unsigned long by_status[600], unanswered, skipped;

typedef struct connection {
    int fd;
    char buffer[65536];
    size_t used;
} connection_t;

static int open_connection(connection_t *c)
{
    struct timeval limit = { TIMEOUT_S, 0 };
    int on = 1;

    c->used = 0;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof server) != 0) {
        return 0;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return 1;
}

static void drop_connection(connection_t *c)
{
    if (c->fd >= 0) {
        close(c->fd);
    }
    c->fd = -1;
    c->used = 0;
}

static int send_all(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return 0;
        }
        text += n;
        len -= (size_t)n;
    }
    return 1;
}

/* Read more of the answer. @return 0 at its end or on an error */
static int fill(connection_t *c)
{
    ssize_t n = recv(c->fd, c->buffer + c->used, sizeof c->buffer - 1 - c->used, 0);
    if (n <= 0) {
        return 0;
    }
    c->used += (size_t)n;
    c->buffer[c->used] = '\0';
    return 1;
}

static void consume(connection_t *c, size_t n)
{
    memmove(c->buffer, c->buffer + n, c->used - n + 1);
    c->used -= n;
}

/* Skip len bytes of a body. */
static int skip_body(connection_t *c, unsigned long long len)
{
    while (len) {
        size_t n = c->used < len ? c->used : (size_t)len;
        consume(c, n);
        len -= n;
        if (len && !fill(c)) {
            return 0;
        }
    }
    return 1;
}

static int skip_chunks(connection_t *c)
{
    for (;;) {
        char *end;
        unsigned long long len;
        while ((end = strstr(c->buffer, "\r\n")) == NULL) {
            if (!fill(c)) {
                return 0;
            }
        }
        len = strtoull(c->buffer, NULL, 16);
        consume(c, (size_t)(end + 2 - c->buffer));
        if (!skip_body(c, len + 2)) { /* the chunk and its line end; after the last one no trailers are sent by httpd */
            return 0;
        }
        if (len == 0) {
            return 1;
        }
    }
}

/* Read one answer. @return its status; 0: the connection ended before anything came; -1: in the middle */
static int read_answer(connection_t *c, int head_only)
{
    char *end;
    int status, closes;
    const char *length;

    while ((end = strstr(c->buffer, "\r\n\r\n")) == NULL || c->used == 0) {
        if (c->used == sizeof c->buffer - 1 || !fill(c)) {
            return c->used ? -1 : 0;
        }
    }
    status = c->used > 12 ? (int)strtol(c->buffer + 9, NULL, 10) : 0;
    end[2] = '\0';
    closes = strcasestr(c->buffer, "\r\nConnection: close\r\n") != NULL;
    length = strcasestr(c->buffer, "\r\nContent-Length:");
    if (!head_only && status != 204 && status != 304) {
        unsigned long long body = length ? strtoull(length + 17, NULL, 10) : 0;
        int chunked = strcasestr(c->buffer, "\r\nTransfer-Encoding: chunked") != NULL;
        consume(c, (size_t)(end + 4 - c->buffer));
        if (chunked ? !skip_chunks(c) : !skip_body(c, body)) {
            return -1;
        }
    }
    else {
        consume(c, (size_t)(end + 4 - c->buffer));
    }
    if (closes) {
        drop_connection(c);
    }
    return status;
}

static int send_one(connection_t *c, const mpx_clf_line_t *line, const char *request, size_t len)
{
    int try, status;

    for (try = 0; try < TRIES; try++) {
        if (c->fd < 0 && !open_connection(c)) {
            drop_connection(c);
            return 0;
        }
        c->buffer[c->used] = '\0';
        status = send_all(c->fd, request, len) ? read_answer(c, strcmp(line->method, "HEAD") == 0) : 0;
        if (status > 0) {
            return status;
        }
        drop_connection(c);
        if (status < 0) {
            return 0;
        }
    }
    return 0;
}

static void replay_line(apr_pool_t *pool, connection_t *c, const char *text, size_t len)
{
    mpx_clf_line_t line;
    const char *request;
    int status;

    if (mpx_clf_parse(pool, MPX_CLF_COMBINED, text, len, &line) || line.method == NULL || line.path[0] != '/') {
        skipped++;
        return;
    }
    request = apr_psprintf(pool, "%s %s%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s\r\n", line.method, prefix,
                           line.path, host, key, strcmp(line.method, "POST") == 0 ? "Content-Length: 0\r\n" : "");
    status = send_one(c, &line, request, strlen(request));
    if (status >= 100 && status < 600) {
        by_status[status]++;
    }
    else {
        unanswered++;
    }
}

/* "http://127.0.0.1:8080/demo" into address and prefix. */
static int parse_url(apr_pool_t *pool, const char *url)
{
    char *copy = apr_pstrdup(pool, url), *slash, *colon;

    if (strncmp(copy, "http://", 7) != 0) {
        return 0;
    }
    host = copy + 7;
    slash = strchr(copy + 7, '/');
    prefix = slash ? apr_pstrdup(pool, slash) : "";
    if (slash) {
        *slash = '\0';
    }
    host = apr_pstrdup(pool, host);
    colon = strchr(copy + 7, ':');
    server.sin_family = AF_INET;
    server.sin_port = htons((unsigned short)(colon ? strtol(colon + 1, NULL, 10) : 80));
    if (colon) {
        *colon = '\0';
    }
    return inet_pton(AF_INET, copy + 7, &server.sin_addr) == 1 && (ntohl(server.sin_addr.s_addr) >> 24) == 127;
}

int main(int argc, char **argv)
{
    static char text[LINE_MAX_BYTES];
    connection_t *connections;
    apr_pool_t *pool, *scratch;
    unsigned long sent = 0;
    FILE *log;
    int i;

    if (argc != 4) {
        fprintf(stderr, "usage: replay LOG URL KEY\n");
        return 2;
    }
    apr_initialize();
    apr_pool_create(&pool, NULL);
    apr_pool_create(&scratch, pool);
    log = fopen(argv[1], "r");
    if (log == NULL || !parse_url(pool, argv[2])) {
        fprintf(stderr, "replay: %s\n", log ? "URL must be http://127.x.x.x:PORT/prefix" : strerror(errno));
        return 2;
    }
    key = argv[3];
    connections = calloc(4, sizeof *connections);
    for (i = 0; connections && i < 4; i++) {
        connections[i].fd = -1;
    }
    while (connections && fgets(text, sizeof text, log)) {
        replay_line(scratch, &connections[sent++ % 4], text, strcspn(text, "\n"));
        apr_pool_clear(scratch);
    }
    printf("%lu requests:", sent);
    for (i = 100; i < 600; i++) {
        if (by_status[i]) {
            printf(" %lu x %d", by_status[i], i);
        }
    }
    printf(", %lu without an answer, %lu lines that are no request\n", unanswered, skipped);
    fclose(log);
    for (i = 0; connections && i < 4; i++) {
        drop_connection(&connections[i]);
    }
    free(connections);
    apr_terminate();
    return unanswered || skipped;
}
