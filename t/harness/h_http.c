/* h_http: one HTTP client on libcurl, and raw bytes for what libcurl would not send. */
#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

typedef struct exchange {
    char *body;
    size_t len, size;
    const char **headers;
    size_t nheaders;
} exchange_t;

static const char *no_headers[] = { NULL };
static CURL *client;
static pid_t client_owner; /* connections are not shared with the cases that were forked from here */

static size_t on_body(char *data, size_t size, size_t n, void *baton)
{
    exchange_t *exchange = baton;
    if (exchange->len + size * n + 1 > exchange->size) {
        size_t bigger = (exchange->len + size * n + 1) * 2;
        char *grown = realloc(exchange->body, bigger);

        if (!grown) {
            return 0;
        }
        exchange->body = grown;
        exchange->size = bigger;
    }
    memcpy(exchange->body + exchange->len, data, size * n);
    exchange->len += size * n;
    exchange->body[exchange->len] = '\0';
    return size * n;
}

static size_t on_header(char *data, size_t size, size_t n, void *baton)
{
    exchange_t *exchange = baton;
    size_t len = size * n;
    char *line;

    while (len && isspace((unsigned char)data[len - 1])) {
        len--;
    }
    if (len > 5 && strncmp(data, "HTTP/", 5) == 0) {
        exchange->nheaders = 0; /* an interim answer came before */
        return size * n;
    }
    if (!memchr(data, ':', len)) {
        return size * n;
    }
    line = h_format("%.*s", (int)len, data);
    for (char *c = line; *c != ':'; c++) {
        *c = (char)tolower((unsigned char)*c);
    }
    exchange->headers = realloc(exchange->headers, (exchange->nheaders + 2) * sizeof(*exchange->headers));
    exchange->headers[exchange->nheaders++] = line;
    exchange->headers[exchange->nheaders] = NULL;
    return size * n;
}

static struct curl_slist *header_list(const h_request_t *request)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");

    if (request->body) {
        list = curl_slist_append(list, h_format("Content-Type: %s", request->type ? request->type : "application/json"));
    }
    if (request->key) {
        list = curl_slist_append(list, h_format("Authorization: Bearer %s", request->key));
    }
    for (int i = 0; request->headers && request->headers[i]; i++) {
        list = curl_slist_append(list, request->headers[i]);
    }
    return list;
}

static void set_method(const h_request_t *request, const char *method)
{
    if (request->body) {
        size_t len = request->body_len ? request->body_len : strlen(request->body);

        curl_easy_setopt(client, CURLOPT_POST, 1L);
        curl_easy_setopt(client, CURLOPT_POSTFIELDS, request->body);
        curl_easy_setopt(client, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    }
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(client, CURLOPT_NOBODY, 1L);
    }
    curl_easy_setopt(client, CURLOPT_CUSTOMREQUEST, method);
}

const h_response_t *h_send(const h_request_t *request)
{
    const h_httpd_t *httpd = request->httpd ? request->httpd : h_main_httpd;
    const char *method = request->method ? request->method : request->body ? "POST"
                                                                           : "GET";
    struct curl_slist *headers = header_list(request);
    h_response_t *response = calloc(1, sizeof(*response));
    exchange_t exchange = { .headers = NULL };
    long status = 0;
    CURLcode result;

    if (client_owner != getpid()) {
        client = curl_easy_init();
        client_owner = getpid();
    }
    curl_easy_reset(client);
    curl_easy_setopt(client, CURLOPT_URL, h_format("http://127.0.0.1:%d%s", httpd->port, request->path));
    curl_easy_setopt(client, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(client, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(client, CURLOPT_PROXY, "");
    curl_easy_setopt(client, CURLOPT_TIMEOUT_MS, (long)((request->timeout > 0 ? request->timeout : 10) * 1000));
    curl_easy_setopt(client, CURLOPT_HTTP_VERSION,
                     request->http2 ? (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE : (long)CURL_HTTP_VERSION_1_1);
    /* libcurl 7.88 fails on a reused connection of HTTP/2 by prior knowledge, with a plain httpd too */
    curl_easy_setopt(client, CURLOPT_FRESH_CONNECT, (long)request->http2);
    curl_easy_setopt(client, CURLOPT_FORBID_REUSE, (long)request->http2);
    curl_easy_setopt(client, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(client, CURLOPT_WRITEDATA, &exchange);
    curl_easy_setopt(client, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(client, CURLOPT_HEADERDATA, &exchange);
    curl_easy_setopt(client, CURLOPT_HTTPHEADER, headers);
    set_method(request, method);
    result = curl_easy_perform(client);
    if (result == CURLE_OK) {
        curl_easy_getinfo(client, CURLINFO_RESPONSE_CODE, &status);
    }
    curl_easy_getinfo(client, CURLINFO_TOTAL_TIME, &response->seconds);
    curl_slist_free_all(headers);
    response->status = (int)status;
    response->body = exchange.body ? exchange.body : "";
    response->body_len = exchange.len;
    response->headers = exchange.headers ? exchange.headers : no_headers;
    response->what = result == CURLE_OK ? h_format("%s %s", method, request->path)
                                        : h_format("%s %s (%s)", method, request->path, curl_easy_strerror(result));
    return response;
}

const h_response_t *h_call(const char *method, const char *path, const char *key, const char *json)
{
    h_request_t request = { .method = method, .path = path, .key = key, .body = json };

    return h_send(&request);
}

const h_response_t *h_get(const char *path, const char *key)
{
    return h_call("GET", path, key, NULL);
}

const h_response_t *h_post(const char *path, const char *key, const char *json)
{
    return h_call("POST", path, key, json);
}

const char *h_header(const h_response_t *response, const char *name)
{
    size_t len = strlen(name);

    for (int i = 0; response->headers[i]; i++) {
        if (strncasecmp(response->headers[i], name, len) == 0 && response->headers[i][len] == ':') {
            const char *value = response->headers[i] + len + 1;

            return value + strspn(value, " \t");
        }
    }
    return NULL;
}

const char *h_raw(const h_httpd_t *httpd, const char *bytes, size_t len, double timeout)
{
    const h_httpd_t *server = httpd ? httpd : h_main_httpd;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)server->port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    long long deadline = h_now_ms() + (long long)(timeout * 1000);
    exchange_t exchange = { .body = NULL };
    char buffer[8192];

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        h_fail("cannot connect to httpd");
    }
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

        if (n <= 0) {
            break; /* the server has closed; what it said is still to be read */
        }
        bytes += n;
        len -= (size_t)n;
    }
    for (;;) {
        struct pollfd poller = { .fd = fd, .events = POLLIN };
        long long left = deadline - h_now_ms();
        ssize_t n;

        if (left <= 0 || poll(&poller, 1, (int)left) <= 0) {
            break;
        }
        n = recv(fd, buffer, sizeof(buffer), 0);
        if (n <= 0) {
            break;
        }
        on_body(buffer, 1, (size_t)n, &exchange);
    }
    close(fd);
    return exchange.body ? exchange.body : "";
}
