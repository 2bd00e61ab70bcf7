/* However an answer on a gated location ends: limited, counted, and told as the contract says. */
#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGE (24 * 1024 * 1024)

static h_httpd_t *upstream;

static void up(void)
{
    char *large = calloc(1, LARGE + 1);

    h_up_stopped(NULL);
    upstream = h_httpd_make("upstream", 0,
                            "LogFormat \"[%{X-Request-Id}i] [%{traceparent}i] [%{X-Mine}i]\" fields\nCustomLog "
                            "fields.log fields\nRedirect 401 /closed\nRedirect 403 /shut\n"
                            "RedirectMatch 412 /stale\nHeader always set RateLimit \"\\\"its\\\";r=1;t=1\"\n");
    h_httpd_start(upstream);
    /* MeterplexProblem is left as it comes */
    h_httpd_configure(h_main_httpd,
                      h_format("# MeterplexProblem: not said\nCustomLog access.json \"%%{json}^MX\"\n"
                               "<Location \"/sold\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
                               "  MeterplexRateLimit key 1000/d name=sold\n  MeterplexMeter sold.request\n"
                               "  MeterplexMeter sold.bytes value=%%{METERPLEX_BYTES_SENT}\n</Location>\n"
                               "ProxyTimeout 1\nProxyPass /sold/proxied http://127.0.0.1:%d\n"
                               "ProxyPass /sold/silent http://127.0.0.1:%d\n"
                               "ProxyPass /sold/overridden http://127.0.0.1:%d\n"
                               "<Location /sold/stale>\n  SetHandler \"proxy:http://127.0.0.1:%d\"\n</Location>\n"
                               "<Location /sold/overridden>\n  ProxyErrorOverride On\n</Location>\n"
                               "<Location /choice>\n  DirectoryIndex closed.html\n</Location>\n"
                               "<Files closed.html>\n  AuthType Meterplex\n"
                               "  Require meterplex-scope vip:read\n</Files>\nMaxMemFree 1\n"
                               "<Location /sold/seen>\n  ProxyErrorOverride On\n  RewriteEngine On\n"
                               "  RewriteCond %%{LA-U:REMOTE_USER} nobody\n  RewriteRule . - [F]\n</Location>\n"
                               "ProxyPass /sold/seen http://127.0.0.1:%d\n"
                               "<Location /basic>\n  AuthType Basic\n  AuthName site\n  AuthUserFile users\n"
                               "  Require valid-user\n  MeterplexProblem On\n</Location>\n"
                               "<Directory />\n  Options FollowSymLinks\n  RewriteEngine On\n"
                               "  RewriteRule sold/away$ http://example.org/ [R=302,L]\n  RewriteRule sold/gone$ - [G]\n"
                               "</Directory>\n",
                               upstream->port, h_silent_port(), upstream->port, upstream->port, upstream->port));
    h_command((const char *[]){ "mkdir", "-p", h_format("%s/httpd-main/htdocs/sold/dir", h_dir()), NULL }, NULL);
    memset(large, 'x', LARGE);
    h_file("httpd-main/htdocs/sold/large", large);
    h_command((const char *[]){ "mkdir", "-p", h_format("%s/httpd-main/htdocs/choice", h_dir()),
                                h_format("%s/httpd-main/htdocs/basic", h_dir()), NULL },
              NULL);
    h_file("httpd-main/htdocs/choice/closed.html", "closed\n");
    h_file("httpd-main/htdocs/basic/x", "open\n");
    h_file("httpd-main/users", "u:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=\n"); /* "pw" */
    h_file("httpd-main/htdocs/sold/away", "");
    h_file("httpd-main/htdocs/sold/gone", "");
    free(large);
    h_httpd_start(h_main_httpd);
}

static const char *fresh_key(void)
{
    static int n;
    const char *key = h_key(h_tenant(h_format("endings-%d-%d", (int)getpid(), n++)),
                            "demo:read usage:read meters:read meters:write", NULL, NULL);

    h_expect(h_post("/v1/meters", key,
                    "{\"key\":\"n\",\"name\":\"n\",\"event_type\":\"sold.request\",\"aggregation\":\"count\"}"),
             201);
    h_expect(h_post("/v1/meters", key,
                    "{\"key\":\"bytes\",\"name\":\"b\",\"event_type\":\"sold.bytes\",\"aggregation\":\"sum\","
                    "\"value_property\":"
                    "\"$.value\"}"),
             201);
    return key;
}

static long total(const char *key, const char *meter)
{
    return atol(h_json_text(h_get(h_format("/v1/meters/%s/usage", meter), key), "/data/0/value"));
}

START_TEST(what_another_module_ends_is_limited_and_counted)
{
    const char *key = fresh_key();
    static const struct {
        const char *path;
        int status;
    } cases[] = { { "/sold/away", 302 }, { "/sold/gone", 410 }, { "/sold/dir", 301 }, { "/sold/nothing", 404 } };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const h_response_t *r = h_get(cases[i].path, key);
        h_expect(r, cases[i].status);
        ck_assert_ptr_nonnull(h_header(r, "ratelimit"));
        ck_assert_ptr_nonnull(strstr(h_header(r, "ratelimit"), h_format("r=%d;", 999 - (int)i)));
        if (cases[i].status == 410) {
            /* the contract has no name for it: it has its own */
            ck_assert_str_eq(h_json_text(r, "/type"), "about:blank");
            ck_assert_str_eq(h_json_text(r, "/title"), "Gone");
            ck_assert_str_eq(h_json_text(r, "/code"), "gone");
        }
    }
    H_WAIT(3, total(key, "n") == 4);
}
END_TEST

/* Asks for the large file and goes away after a kilobyte. */
static void break_off(const char *key)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)h_main_httpd->port) };
    struct linger reset = { 1, 0 };
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 8192;
    const char *request = h_format("GET /sold/large HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", key);
    char buffer[1024];

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    ck_assert_int_gt(read(fd, buffer, sizeof buffer), 0);
    close(fd);
}

START_TEST(a_broken_download_costs_what_was_sent)
{
    const char *key = fresh_key();
    const h_response_t *r = h_get("/sold/large", key);

    h_expect(r, 200);
    ck_assert_uint_eq(r->body_len, LARGE);
    H_WAIT(3, total(key, "n") == 1);
    ck_assert_int_eq(total(key, "bytes"), LARGE);
    break_off(key);
    H_WAIT(5, total(key, "n") == 2);
    ck_assert_msg(total(key, "bytes") < LARGE + LARGE / 2, "%ld bytes of %d were "
                                                           "billed",
                  total(key, "bytes") - LARGE, LARGE);
}
END_TEST

START_TEST(an_upstream_that_says_nothing_is_a_504)
{
    const char *key = fresh_key();
    const h_response_t *r = h_get("/sold/silent", key);

    h_expect_problem(r, 504, "upstream_timeout");
    H_WAIT(3, total(key, "n") == 1);
}
END_TEST

START_TEST(an_upstreams_refusal_stays_what_it_is)
{
    const char *key = fresh_key();

    /* the page is httpd's, the word is the upstream's: a 401 of its own must not become "you are known and may not" */
    h_expect(h_get("/sold/overridden/closed", key), 401);
    h_expect(h_get("/sold/overridden/shut", key), 403);
    h_expect(h_get("/sold/proxied/closed", key), 401);
    ck_assert_ptr_null(strstr(h_header(h_get("/sold/proxied/closed", key), "ratelimit"), "its")); /* one field, ours */
    h_expect_problem(h_get("/sold/overridden/closed", NULL), 401, "unauthenticated");
    /* a look ahead asks authorization of a subrequest, too */
    h_expect_problem(h_get("/sold/seen/closed", key), 401, "unauthenticated");
}
END_TEST

START_TEST(another_modules_challenge_stays)
{
    h_request_t request = { .path = "/basic/x", .headers = (const char *[]){ "Authorization: Basic dTpwdw==", NULL } };
    const h_response_t *r = h_get("/basic/x", NULL);

    h_expect_problem(r, 401, "unauthenticated");
    ck_assert_str_eq(h_header(r, "www-authenticate"), "Basic realm=\"site\"");
    h_expect(h_send(&request), 200);
}
END_TEST

/* mod_dir asks for its index by a subrequest, whose pool has gone by the time its refusal is told. What is asked for varies
 * in length, so that what is written meanwhile lies now here, now there. */
START_TEST(what_a_subrequest_was_refused_for_is_told)
{
    static const char need[] = "This needs a credential: Authorization: Bearer, or X-API-Key.";
    const char *key = fresh_key();
    char query[4097] = "";

    for (size_t n = 0; n < sizeof query - 1; n += 256) {
        const h_response_t *r;

        memset(query, 'Q', n);
        r = h_get(h_format("/choice/?%s", query), NULL);
        h_expect_problem(r, 401, "unauthenticated");
        ck_assert_str_eq(h_json_text(r, "/detail"), need);
        r = h_get(h_format("/choice/?%s", query), key);
        h_expect_problem(r, 403, "insufficient_scope");
        ck_assert_str_eq(h_json_text(r, "/detail"), "This needs the scope vip:read.");
    }
}
END_TEST

/* Before a section is found, whatever the site's own pages look like. */
START_TEST(malformed_requests_get_problems)
{
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        { "GET /v1/tenants HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400 },
        { "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400 },
        { "GET / HTTP/1.1\r\n\r\n", 400 },
        { "POST /v1/tenants HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: sideways\r\n\r\n", 400 },
        { "GET / HTTP/1.1\r\nHost: x\r\nName : value\r\n\r\n", 400 },
    };
    char long_path[400] = "/sold/";
    const char *log;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *answer = h_raw(h_main_httpd, cases[i].request, strlen(cases[i].request), 3);
        ck_assert_msg(strncmp(answer, h_format("HTTP/1.1 %d", cases[i].status), 12) == 0, "case %zu: %s", i, answer);
        ck_assert_msg(strstr(answer, "application/problem+json") && strstr(answer, "\"code\":\"bad_request\"")
                          && strcasestr(answer, "\nX-Request-Id: "),
                      "case %zu: %s", i, answer);
    }
    /* each has its trace in the log, though it ended before there was a request */
    H_WAIT(3, (log = h_read_file(h_format("%s/access.json", h_main_httpd->root))) && strstr(log, "\"path\":\"/%zz\""));
    ck_assert_ptr_nonnull(strstr(log, "\"trace_id\":\""));
    ck_assert_ptr_null(strstr(log, "\"trace_id\":\"00000000000000000000000000000000\""));
    h_expect_problem(h_call("FETCH", "/sold/large", fresh_key(), NULL), 501, "not_implemented");
    /* httpd has put the section aside while it walks directories */
    memset(long_path + 6, 'a', 300);
    h_expect_problem(h_get(long_path, NULL), 403, "forbidden");
    /* a page of the site's own stays as it is */
    ck_assert_ptr_null(strstr(h_header(h_get("/nothing", NULL), "content-type"), "json"));
}
END_TEST

/* httpd's handler of files answers these without an error of its own. */
START_TEST(a_precondition_that_fails_is_a_problem)
{
    static const char *const conditions[] = { "If-Match: \"another\"",
                                              "If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT" };
    const char *key = fresh_key();

    for (int i = 0; i < 2; i++) {
        h_request_t request = { .path = "/sold/large", .key = key, .headers = (const char *[]){ conditions[i], NULL } };

        h_expect_problem(h_send(&request), 412, "precondition_failed");
        request.method = "HEAD";
        h_expect(h_send(&request), 412);
    }
    H_WAIT(3, total(key, "n") == 4);
}
END_TEST

/* It is the backend that has looked at the condition, and has its own words for it. */
START_TEST(a_backends_precondition_is_its_own)
{
    static const char *const paths[] = { "/sold/proxied/stale", "/sold/stale" };
    const char *key = fresh_key(), *plain;
    h_request_t direct = { .httpd = upstream, .path = "/stale" };

    plain = h_send(&direct)->body;
    ck_assert_ptr_nonnull(strstr(plain, "412 Precondition Failed"));
    for (int i = 0; i < 2; i++) {
        h_request_t request = { .path = paths[i], .key = key, .headers = (const char *[]){ "If-Match: \"x\"", NULL } };
        const h_response_t *r = h_send(&request);

        h_expect(r, 412);
        ck_assert_ptr_nonnull(strstr(h_header(r, "content-type"), "text/html"));
        ck_assert_str_eq(r->body, plain);
        request.method = "HEAD";
        r = h_send(&request);
        h_expect(r, 412);
        ck_assert_ptr_nonnull(strstr(h_header(r, "content-type"), "text/html"));
    }
    H_WAIT(3, total(key, "n") == 4);
}
END_TEST

START_TEST(a_client_cannot_hide_the_request_from_the_upstream)
{
    static const char hiding[] = "Connection: close, x-request-id, Traceparent, X-Mine";
    const char *key = fresh_key(), *headers[] = { "X-Request-Id: from-the-client", "X-Mine: yes", hiding, NULL };
    h_request_t request = { .path = "/sold/proxied/index.html", .key = key, .headers = headers };
    char *log;

    h_expect(h_send(&request), 200);
    H_WAIT(3, (log = h_read_file(h_format("%s/fields.log", upstream->root))) && strstr(log, "[from-the-client] [00-"));
    ck_assert_ptr_nonnull(strstr(log, "] [-]")); /* what is the client's own to take away */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("endings");
    TCase *tcase = tcase_create("endings");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, what_another_module_ends_is_limited_and_counted);
    tcase_add_test(tcase, a_broken_download_costs_what_was_sent);
    tcase_add_test(tcase, an_upstream_that_says_nothing_is_a_504);
    tcase_add_test(tcase, an_upstreams_refusal_stays_what_it_is);
    tcase_add_test(tcase, another_modules_challenge_stays);
    tcase_add_test(tcase, what_a_subrequest_was_refused_for_is_told);
    tcase_add_test(tcase, a_precondition_that_fails_is_a_problem);
    tcase_add_test(tcase, a_backends_precondition_is_its_own);
    tcase_add_test(tcase, malformed_requests_get_problems);
    tcase_add_test(tcase, a_client_cannot_hide_the_request_from_the_upstream);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
