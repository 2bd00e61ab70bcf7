/* h_relay.c: what a network does, on one machine: a long way to PostgreSQL, and somebody who does not answer. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "apr_sha1.h"
#include "harness.h"

#define CHUNKS 64

/* What one side has said and the other has not heard yet. */
typedef struct way {
    int from, to, first, n, ended; /* n chunks from first on */
    struct {
        long long due;
        ssize_t len; /* 0: the end */
        char data[16384];
    } chunks[CHUNKS];
} way_t;

static void take(way_t *way, int delay)
{
    int at = (way->first + way->n) % CHUNKS;
    ssize_t len = read(way->from, way->chunks[at].data, sizeof way->chunks[at].data);

    way->ended = len <= 0;
    way->chunks[at].len = len > 0 ? len : 0;
    way->chunks[at].due = h_now_ms() + delay;
    way->n++;
}

/* @return 0 when this way has come to its end */
static int pass(way_t *way)
{
    while (way->n > 0 && way->chunks[way->first].due <= h_now_ms()) {
        ssize_t len = way->chunks[way->first].len;

        if (len == 0) {
            return 0;
        }
        for (ssize_t done = 0, sent; done < len; done += sent) {
            sent = send(way->to, way->chunks[way->first].data + done, (size_t)(len - done), MSG_NOSIGNAL);
            if (sent < 0) {
                return 0;
            }
        }
        way->first = (way->first + 1) % CHUNKS;
        way->n--;
    }
    return 1;
}

static void relay(int a, int b, int delay)
{
    way_t *ways = calloc(2, sizeof *ways);

    ways[0].from = ways[1].to = a;
    ways[0].to = ways[1].from = b;
    do {
        struct pollfd fds[2];
        int timeout = -1;

        for (int i = 0; i < 2; i++) {
            fds[i] = (struct pollfd){ ways[i].from, ways[i].n < CHUNKS && !ways[i].ended ? POLLIN : 0, 0 };
            if (ways[i].ended) {
                fds[i].fd = -1; /* its end would be reported for ever */
            }
            if (ways[i].n > 0) {
                long long left = ways[i].chunks[ways[i].first].due - h_now_ms();
                left = left > 0 ? left : 0;
                timeout = timeout < 0 || left < timeout ? (int)left : timeout;
            }
        }
        poll(fds, 2, timeout);
        for (int i = 0; i < 2; i++) {
            if (fds[i].revents) {
                take(&ways[i], delay);
            }
        }
    } while (pass(&ways[0]) && pass(&ways[1]));
    _exit(0);
}

/* A child whose parent ends, ends. */
static pid_t child(void)
{
    pid_t pid = fork();

    if (pid < 0) {
        h_fail("fork");
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    return pid;
}

static struct sockaddr_in local(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void accept_for_ever(int listener, int delay)
{
    struct sockaddr_in server = local(h_pg_port());

    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int one = 1, near = accept(listener, NULL, NULL), far;

        if (near >= 0 && child() == 0) {
            far = socket(AF_INET, SOCK_STREAM, 0);
            setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            if (connect(far, (struct sockaddr *)&server, sizeof server) != 0) {
                _exit(1);
            }
            relay(near, far, delay);
        }
        close(near);
    }
}

/* What a WebSocket server makes of the client's key (RFC 6455 section 4.2.2); mod_http2 looks at it. */
static const char *accept_key(const char *request)
{
    static const char name[] = "Sec-WebSocket-Key: ";
    static char line[64];
    const char *key = strcasestr(request, name);
    char text[128];

    if (key == NULL) {
        return "";
    }
    key += sizeof name - 1;
    snprintf(text, sizeof text, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", (int)strcspn(key, "\r\n"), key);
    apr_sha1_base64(text, (int)strlen(text), line); /* "{SHA}" and the digest */
    return line + APR_SHA1PW_IDLEN;
}

static void answer_for_ever(int listener, const char *answer)
{
    static const char switched[] = "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                   "Sec-WebSocket-Accept: %s\r\n\r\n";
    char request[16384], line[256];

    for (;;) {
        int fd = accept(listener, NULL, NULL);
        ssize_t n = read(fd, request, sizeof request - 1);

        if (n > 0) {
            request[n] = '\0';
            if (answer == NULL) {
                snprintf(line, sizeof line, switched, accept_key(request));
            }
            send(fd, answer ? answer : line, strlen(answer ? answer : line), MSG_NOSIGNAL);
        }
        close(fd);
    }
}

/* @return the listener, in a process of its own; -1 in the one that asked for it */
static int listen_in_a_child(int port)
{
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = local(port);

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0) {
        h_fail("nobody can listen on port %d", port);
    }
    if (child() == 0) {
        /* the pipes by which others know that the program has ended are not this process's to hold open */
        dup2(listener, 3);
        close_range(4, ~0U, 0);
        return 3;
    }
    close(listener);
    return -1;
}

int h_relay_start(int delay)
{
    int port = h_free_port(), listener = listen_in_a_child(port);

    if (listener >= 0) {
        accept_for_ever(listener, delay);
    }
    return port;
}

int h_socket_start(void)
{
    return h_canned_start(NULL);
}

int h_canned_start(const char *answer)
{
    int port = h_free_port(), listener = listen_in_a_child(port);

    if (listener >= 0) {
        answer_for_ever(listener, answer);
    }
    return port;
}

int h_silent_port(void)
{
    static int fd; /* open to the end */
    int port = h_free_port();
    struct sockaddr_in address = local(port);

    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 16) != 0) {
        h_fail("no silent port");
    }
    return port;
}
