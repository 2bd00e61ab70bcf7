/* Internal redirects: whatever path leads to what is sold, its limits hold and its meters count, each once a request. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* short/ is rewritten per directory, which is an internal redirect; front/ has an index; a file that is not there has a page
 * of its own, which is sold, too. */
static const char gates[] =
    "<Location \"/sold\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
    "  MeterplexRateLimit key 4/d name=sold\n  MeterplexRateLimit ip 100/d name=address\n"
    "  MeterplexMeter sold.request\n</Location>\n"
    "<Location \"/sold/open\">\n  MeterplexRateLimit none\n</Location>\n"
    "<Location \"/sold/page\">\n  MeterplexRateLimit none\n  MeterplexMeter page.request\n</Location>\n"
    "<Location \"/passage\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
    "  MeterplexRateLimit key 1000/d name=gate\n  MeterplexMeter gate.request\n</Location>\n"
    "<Location \"/front\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n</Location>\n"
    "<Location \"/front/index.shtml\">\n  MeterplexRateLimit key 3/d name=index\n"
    "  MeterplexRateLimit ip 50/d name=index-address\n  MeterplexMeter inde.request\n</Location>\n"
    "<Location \"/front/fall.html\">\n  MeterplexRateLimit key 3/d name=fall\n"
    "  MeterplexMeter fall.request\n</Location>\n"
    "<Location \"/named\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
    "  MeterplexRateLimit key 4/d name=sold\n</Location>\n"
    "<LocationMatch \"^/front/missing\">\n  FallbackResource /front/fall.html\n</LocationMatch>\n"
    "Protocols h2c http/1.1\nH2WebSockets on\n"
    "ErrorDocument 404 /sold/page/none.html\n"
    "<Directory />\n  Options FollowSymLinks Includes\n  DirectoryIndex index.shtml\n"
    "  AddOutputFilter INCLUDES .shtml\n  RewriteEngine On\n"
    "  RewriteRule (short|passage|named)/(.*)$ /sold/$2 [L]\n</Directory>\n";

static void up(void)
{
    const char *htdocs, *relayed;

    relayed = h_format("<Location \"/relayed\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n"
                       "  MeterplexRateLimit key 100/d\n  MeterplexMeter rela.request\n</Location>\n"
                       "ProxyPass /relayed/plain http://127.0.0.1:%d\n"
                       "ProxyPass /relayed/socket http://127.0.0.1:%d upgrade=websocket\n",
                       h_canned_start("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nplain"),
                       h_socket_start());
    h_up_stopped(NULL);
    h_httpd_configure(h_main_httpd, h_format("%s%s", gates, relayed));
    htdocs = h_format("httpd-%s/htdocs", h_main_httpd->name);
    h_file(h_format("%s/x.html", htdocs), "x\n");
    h_command((const char *[]){ "mkdir", "-p", h_format("%s/%s/front", h_dir(), htdocs),
                                h_format("%s/%s/sold/open/dir", h_dir(), htdocs),
                                h_format("%s/%s/sold/page", h_dir(), htdocs), NULL },
              NULL);
    h_file(h_format("%s/sold/x", htdocs), "sold\n");
    h_file(h_format("%s/front/index.shtml", htdocs), "the index\n");
    h_file(h_format("%s/front/fall.html", htdocs), "the fallback\n");
    h_file(h_format("%s/sold/page/none.html", htdocs), "nothing here\n");
    h_file(h_format("%s/sold/open/x", htdocs), "open\n");
    h_file(h_format("%s/sold/open/dir/index.shtml", htdocs), "<!--#include virtual=\"/sold/x\" -->");
    h_httpd_start(h_main_httpd);
}

static const char *fresh_key(void)
{
    static int n;
    return h_key(h_tenant(h_format("redirects-%d-%d", (int)getpid(), n++)), "demo:read usage:read meters:read "
                                                                            "meters:write",
                 NULL, NULL);
}

static int counted(const char *key, const char *type, const char *value)
{
    const char *meter = h_format("{\"key\":\"%.4s\",\"name\":\"m\",\"event_type\":\"%s\",\"aggregation\":\"count\"}",
                                 type, type);

    h_post("/v1/meters", key, meter); /* the first time */
    return strcmp(h_json_text(h_get(h_format("/v1/meters/%.4s/usage", type), key), "/data/0/value"), value) == 0;
}

START_TEST(a_rewritten_path_is_limited_and_counted)
{
    const char *key = fresh_key();

    for (int i = 0; i < 2; i++) {
        h_expect(h_get("/sold/x", key), 200);
        h_expect(h_get("/short/x", key), 200);
    }
    h_expect_problem(h_get("/short/x", key), 429, "rate_limited");
    h_expect_problem(h_get("/sold/x", key), 429, "rate_limited");
    h_expect_problem(h_get("/short/x", NULL), 401, "unauthenticated");
    H_WAIT(3, counted(key, "sold.request", "4"));
}
END_TEST

START_TEST(each_policy_and_meter_once)
{
    const char *key = fresh_key();
    const h_response_t *r = h_get("/passage/x", key);
    const char *fields;

    h_expect(r, 200);
    fields = h_header(r, "ratelimit");
    ck_assert_msg(strncmp(fields, "\"gate\";r=999;t=", 15) == 0 && strstr(fields, "\"address\";r=")
                      && strstr(fields, "\"sold\";r=3;"),
                  "%s", fields);
    H_WAIT(3, counted(key, "sold.request", "1"));
    H_WAIT(1, counted(key, "gate.request", "1"));
}
END_TEST

START_TEST(an_index_and_what_it_includes_are_one_request)
{
    const char *key = fresh_key();
    const h_response_t *r = h_get("/sold/open/dir/", key);

    h_expect(r, 200);
    ck_assert_str_eq(r->body, "sold\n");
    ck_assert_ptr_null(h_header(r, "ratelimit"));
    H_WAIT(3, counted(key, "sold.request", "1"));
}
END_TEST

/* The page that mod_dir chooses has lines that the directory has not. */
START_TEST(an_index_brings_its_own_lines)
{
    static const struct {
        const char *path, *body, *type;
    } cases[] = { { "/front/", "the index\n", "inde.request" }, { "/front/missing", "the fallback\n", "fall.request" } };
    const char *key = fresh_key();

    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (int i = 0; i < 3; i++) {
            const h_response_t *r = h_get(cases[c].path, key);
            h_expect(r, 200);
            ck_assert_str_eq(r->body, cases[c].body);
            ck_assert_msg(h_header(r, "ratelimit") && strstr(h_header(r, "ratelimit"), h_format("r=%d;", 2 - i)), "%s",
                          h_header(r, "ratelimit"));
        }
        h_expect_problem(h_get(cases[c].path, key), 429, "rate_limited");
        H_WAIT(3, counted(key, cases[c].type, "3"));
    }
    h_expect_problem(h_get("/front/", NULL), 401, "unauthenticated");
}
END_TEST

START_TEST(a_name_is_one_limit_on_both_ends)
{
    const char *key = fresh_key();

    for (int i = 0; i < 4; i++) {
        h_expect(h_get("/named/x", key), 200);
    }
    h_expect_problem(h_get("/named/x", key), 429, "rate_limited");
}
END_TEST

static const char *by_http2(const char *key, const char *path)
{
    return h_command((const char *[]){ "curl", "-s", "--http2", "-H", h_format("Authorization: Bearer %s", key), "-w",
                                       " %{http_version} %{http_code}",
                                       h_format("http://127.0.0.1:%d%s", h_main_httpd->port, path), NULL },
                     NULL)
        .text;
}

/* HTTP/1.1 with Upgrade: h2c is switched, and comes again as the first stream. */
START_TEST(an_upgrade_counts_once)
{
    const char *key = fresh_key();

    ck_assert_str_eq(by_http2(key, "/sold/open/x"), "open\n 2 200");
    H_WAIT(3, counted(key, "sold.request", "1"));
    ck_assert_str_eq(by_http2(key, "/relayed/plain"), "plain 2 200");
    ck_assert_ptr_nonnull(strstr(h_header(h_get("/relayed/plain", key), "ratelimit"), "r=98;"));
    H_WAIT(3, counted(key, "rela.request", "2"));
}
END_TEST

/* A backend that switches has answered the request. */
START_TEST(a_backends_upgrade_counts)
{
    const char *key = fresh_key(), *answer;
    const char *asking = h_format("GET /relayed/socket HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nConnection: Upgrade\r\n"
                                  "Upgrade: websocket\r\n\r\n",
                                  key);

    answer = h_raw(h_main_httpd, asking, strlen(asking), 2);
    ck_assert_msg(strncmp(answer, "HTTP/1.1 101 ", 13) == 0, "%s", answer);
    H_WAIT(3, counted(key, "rela.request", "1"));
    ck_assert_ptr_nonnull(strstr(h_header(h_get("/relayed/plain", key), "ratelimit"), "r=98;"));
}
END_TEST

/* One HTTP/2 frame (RFC 9113 section 4.1). @return where the next begins */
static char *frame(char *to, int type, int flags, int stream, const char *payload, size_t n)
{
    const char head[] = { 0, (char)(n >> 8), (char)n, (char)type, (char)flags, 0, 0, 0, (char)stream };

    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, payload, n);
    return to + sizeof head + n;
}

static const char *access_log(void)
{
    const char *text = h_read_file(h_format("%s/access.log", h_main_httpd->root));
    return text ? text : "";
}

/* A WebSocket inside HTTP/2 is a request of its stream (RFC 8441), which mod_http2 makes an upgrade for the backend. */
START_TEST(a_socket_in_http2_counts)
{
    const char *key = fresh_key();
    const char *const fields[] = { ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path",
                                   "/relayed/socket", ":authority", "x", "sec-websocket-version", "13", "x-api-key", key };
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    char bytes[1024], block[512], *end = bytes + sizeof preface - 1, *b = block;

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) { /* RFC 7541 section 6.2.2: literal, not indexed */
        size_t n = strlen(fields[i]);

        ck_assert_uint_lt(n, 127);
        if (i % 2 == 0) {
            *b++ = 0;
        }
        *b++ = (char)n;
        memcpy(b, fields[i], n);
        b += n;
    }
    memcpy(bytes, preface, sizeof preface - 1);
    end = frame(end, 4, 0, 0, "", 0);                      /* SETTINGS */
    end = frame(end, 1, 4, 1, block, (size_t)(b - block)); /* HEADERS, all of them */
    h_raw(h_main_httpd, bytes, (size_t)(end - bytes), 1);
    H_WAIT(3, counted(key, "rela.request", "1"));
    ck_assert_ptr_nonnull(strstr(h_header(h_get("/relayed/plain", key), "ratelimit"), "r=98;"));
    H_WAIT(3, strstr(access_log(), "\"GET /relayed/socket HTTP/2.0\" 101 ") != NULL);
}
END_TEST

START_TEST(an_error_document_is_no_request)
{
    const char *key = fresh_key();

    h_expect(h_get("/nowhere", key), 404);
    h_expect(h_get("/sold/nowhere", key), 404);
    H_WAIT(3, counted(key, "sold.request", "1"));
    ck_assert(counted(key, "page.request", "0"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redirects");
    TCase *tcase = tcase_create("redirects");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_rewritten_path_is_limited_and_counted);
    tcase_add_test(tcase, each_policy_and_meter_once);
    tcase_add_test(tcase, an_index_and_what_it_includes_are_one_request);
    tcase_add_test(tcase, an_index_brings_its_own_lines);
    tcase_add_test(tcase, a_name_is_one_limit_on_both_ends);
    tcase_add_test(tcase, an_upgrade_counts_once);
    tcase_add_test(tcase, a_backends_upgrade_counts);
    tcase_add_test(tcase, a_socket_in_http2_counts);
    tcase_add_test(tcase, an_error_document_is_no_request);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
