/* mpx_clf: lines of access logs as httpd writes them, cut, foreign and broken ones, and lines made up and
 * read back. */
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mpx_clf.h"
#include "mpx_json.h"
#include "mpx_time.h"
#include "tap.h"

static apr_pool_t *pool;

static const char *parse(mpx_clf_format_e format, const char *line, mpx_clf_line_t *out)
{
    return mpx_clf_parse(pool, format, line, strlen(line), out);
}

START_TEST(lines_of_access_logs)
{
    mpx_clf_line_t l;

    ck_assert_ptr_null(
        parse(MPX_CLF_COMBINED,
              "83.149.9.216 - anna [17/May/2015:10:05:03 +0200] \"GET /a%20b?x=1 HTTP/1.1\" 200 "
              "203023 \"http://r.example/\" \"Agent \\\"q\\\" \\xc3\\xa4 \\xff\"",
              &l));
    ck_assert_str_eq(l.client, "83.149.9.216");
    ck_assert_str_eq(l.user, "anna");
    ck_assert_str_eq(mpx_time_text(pool, l.time), "2015-05-17T08:05:03Z");
    ck_assert_str_eq(l.method, "GET");
    ck_assert_str_eq(l.path, "/a%20b?x=1");
    ck_assert_str_eq(l.protocol, "HTTP/1.1");
    ck_assert(l.status == 200 && l.bytes == 203023 && !l.cut);
    ck_assert_str_eq(l.user_agent, "Agent \"q\" \xc3\xa4 \\xff");
    ck_assert_ptr_null(parse(
        MPX_CLF_COMBINED, "::1 - - [01/Jan/2026:00:00:00 +0000] \"\\x16\\x03\\x01\" 400 - \"-\" \"-\"", &l));
    ck_assert(l.method == NULL && l.bytes == 0 && l.referer == NULL && l.user_agent == NULL);
    ck_assert_ptr_null(parse(MPX_CLF_COMBINED,
                             "::1 - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 200 1 \"-\" \"cut off",
                             &l));
    ck_assert_int_eq(l.cut, 1);
    ck_assert_str_eq(l.user_agent, "cut off");
    ck_assert_ptr_null(
        parse(MPX_CLF_COMMON, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 304 0", &l));
    ck_assert_ptr_null(parse(MPX_CLF_VHOST_COMBINED,
                             "v:80 h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 304 0 \"-\" \"-\"",
                             &l));
    ck_assert_str_eq(l.vhost, "v:80");
    ck_assert_ptr_nonnull(parse(MPX_CLF_COMBINED, "", &l));
    ck_assert_ptr_nonnull(parse(MPX_CLF_COMBINED, "garbage", &l));
    ck_assert_ptr_nonnull(parse(
        MPX_CLF_COMBINED, "h - - [32/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 304 0 \"-\" \"-\"", &l));
    ck_assert_ptr_nonnull(parse(
        MPX_CLF_COMBINED, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 30 0 \"-\" \"-\"", &l));
    ck_assert_ptr_nonnull(parse(
        MPX_CLF_COMBINED, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 200 x \"-\" \"-\"", &l));
    ck_assert_ptr_nonnull(
        parse(MPX_CLF_COMMON, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 200 1 more", &l));
    ck_assert_ptr_null(parse(
        MPX_CLF_COMMON, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 200 999999999999999999", &l));
    ck_assert_int_eq(l.bytes, APR_INT64_C(999999999999999999));
    ck_assert_ptr_nonnull(parse(
        MPX_CLF_COMMON, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 200 9223372036854775808", &l));
    ck_assert_ptr_nonnull(
        parse(MPX_CLF_COMMON, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 200 -1", &l));
    ck_assert_ptr_nonnull(parse(MPX_CLF_COMBINED, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0", &l));
}
END_TEST

#define TIME "[01/Jan/2026:00:00:00 +0000] "
#define REST "\"GET / HTTP/1.0\" 200 1 \"-\" \"-\""

START_TEST(users_have_names)
{
    static const struct {
        const char *line, *user;
    } good[] = {
        { "h - - " TIME REST, NULL },
        { "h - anna " TIME REST, "anna" },
        { "h - John Q. Smith " TIME REST, "John Q. Smith" },
        { "h - \"\" " TIME REST, "" },
        { "h - a\\\"b " TIME REST, "a\"b" },
        { "h - a [b] " TIME REST, "a [b]" },
        { "h - J\\xc3\\xbcrgen " TIME REST, "J\xc3\xbcrgen" },
        { "h ident - " TIME REST, NULL },
        { "h - -- " TIME REST, "--" },
        { "h - [01/Jan/2026:00:00 " TIME REST, "[01/Jan/2026:00:00" },
    };
    static const char *const bad[] = { "h -  " TIME REST,
                                       "h - " TIME REST,
                                       "h - a b " REST,
                                       "h - a \"b\" " TIME REST,
                                       "h - ",
                                       "h -",
                                       "h",
                                       "h - a [01/Jan/2026:00:00:00 +0000]",
                                       "h - a " TIME };
    mpx_clf_line_t l;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_msg(parse(MPX_CLF_COMBINED, good[i].line, &l) == NULL, "%s", good[i].line);
        ck_assert_pstr_eq(l.user, good[i].user);
        ck_assert_str_eq(l.path, "/");
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(parse(MPX_CLF_COMBINED, bad[i], &l) != NULL, "%s", bad[i]);
    }
}
END_TEST

START_TEST(times_are_those_of_the_log)
{
    static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    static const char *const bad[] = { "[01/jan/2026:00:00:00 +0000]", "[01/Foo/2026:00:00:00 +0000]",
                                       "[01/anF/2026:00:00:00 +0000]", "[1/Jan/2026:00:00:00 +0000]",
                                       "[31/Apr/2026:00:00:00 +0000]", "[29/Feb/2026:00:00:00 +0000]",
                                       "[01/Jan/2026:24:00:00 +0000]", "[01/Jan/2026:00:00:00 0000]",
                                       "[01/Jan/2026:00:00:00 +00:00]", "[01/Jan/2026:00:00:00]",
                                       "2026-01-01T00:00:00Z", "[01/Jan/2026 00:00:00 +0000]",
                                       "[ 1/Jan/2026:00:00:00 +0000]", "[01/Jan/0000:00:00:00 +0000]" };
    char line[200], zero[] = "h - - [01/Jan/2026:00:00:00 +0000] " REST;
    mpx_clf_line_t l;

    for (int m = 0; m < 12; m++) {
        sprintf(line, "h - - [09/%s/2024:23:59:58 -0930] " REST, months[m]);
        ck_assert_ptr_null(parse(MPX_CLF_COMBINED, line, &l));
        sprintf(line, "2024-%02d-10T09:29:58Z", m + 1);
        ck_assert_str_eq(mpx_time_text(pool, l.time), line);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sprintf(line, "h - - %s " REST, bad[i]);
        ck_assert_msg(parse(MPX_CLF_COMBINED, line, &l) != NULL, "%s", line);
    }
    for (size_t i = 6; i < 36; i++) { /* a NUL in the place of any character of it */
        char was = zero[i];
        zero[i] = '\0';
        ck_assert_ptr_nonnull(mpx_clf_parse(pool, MPX_CLF_COMBINED, zero, sizeof zero - 1, &l));
        zero[i] = was;
    }
}
END_TEST

START_TEST(request_lines_are_taken_apart)
{
    static const struct {
        const char *request, *method, *path, *protocol;
    } cases[] = {
        { "GET / HTTP/1.1", "GET", "/", "HTTP/1.1" },
        { "POST /a?b=c&d HTTP/2.0", "POST", "/a?b=c&d", "HTTP/2.0" },
        { "OPTIONS * HTTP/1.0", "OPTIONS", "*", "HTTP/1.0" },
        { "CONNECT h:443 HTTP/1.1", "CONNECT", "h:443", "HTTP/1.1" },
        { "GET /a b HTTP/1.1", "GET", "/a b", "HTTP/1.1" },
        { "M-SEARCH * HTTP/1.1", "M-SEARCH", "*", "HTTP/1.1" },
        { "-", NULL, NULL, NULL },
        { "", NULL, NULL, NULL },
        { "GET /", NULL, NULL, NULL },
        { "GET  HTTP/1.1", NULL, NULL, NULL },
        { " / HTTP/1.1", NULL, NULL, NULL },
        { "GET / FTP/1.1", NULL, NULL, NULL },
        { "G(T / HTTP/1.1", NULL, NULL, NULL },
        { "\\x16\\x03\\x01\\x02", NULL, NULL, NULL },
        { "GET HTTP/1.1", NULL, NULL, NULL },
    };
    char line[200];
    mpx_clf_line_t l;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sprintf(line, "h - - " TIME "\"%s\" 200 1", cases[i].request);
        ck_assert_msg(parse(MPX_CLF_COMMON, line, &l) == NULL, "%s", line);
        ck_assert_pstr_eq(l.method, cases[i].method);
        ck_assert_pstr_eq(l.path, cases[i].path);
        ck_assert_pstr_eq(l.protocol, cases[i].protocol);
        ck_assert_ptr_null(l.referer);
        if (strchr(cases[i].request, '\\') == NULL) {
            ck_assert_str_eq(l.request, cases[i].request);
        }
    }
}
END_TEST

START_TEST(escapes_are_undone_and_bytes_kept)
{
    static const struct {
        const char *logged, *text;
        size_t len;
    } cases[] = {
        { "\\\"\\\\\\n\\t\\r\\b\\v", "\"\\\n\t\r\b\v", 0 },
        { "\\x0c\\x7f", "\f\x7f", 0 },
        { "\\xC3\\xA4", "\xc3\xa4", 0 },
        { "\\xf0\\x9f\\x98\\x80", "\xf0\x9f\x98\x80", 0 },
        { "\\xed\\xa0\\x80", "\\xed\\xa0\\x80", 0 }, /* a surrogate */
        { "\\xc0\\x80", "\\xc0\\x80", 0 },
        { "a\\x00b", "a\\x00b", 0 },
        { "a\0b", "a\\x00b", 3 },
        { "\xff\xc3\xa4", "\\xff\xc3\xa4", 0 },
        { "\\xc3", "\\xc3", 0 },
        { "\\xg0 \\x1 \\q", "\\xg0 \\x1 \\q", 0 },
        { "\\x5cn", "\\n", 0 },
    };
    mpx_clf_line_t l;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const char head[] = "h - - " TIME "\"GET / HTTP/1.1\" 200 1 \"-\" \"";
        size_t n = sizeof head - 1, len = cases[i].len ? cases[i].len : strlen(cases[i].logged);
        char line[300];
        memcpy(line, head, n);
        memcpy(line + n, cases[i].logged, len);
        line[n + len] = '"';
        ck_assert_ptr_null(mpx_clf_parse(pool, MPX_CLF_COMBINED, line, n + len + 1, &l));
        ck_assert_str_eq(l.user_agent, cases[i].text);
        ck_assert_int_eq(l.cut, 0);
    }
}
END_TEST

/* A line that a full disk or a rotation cut is told from a whole one wherever it was cut. */
START_TEST(a_line_cut_anywhere)
{
    static const char line[] =
        "192.0.2.1 - - " TIME "\"GET /x HTTP/1.1\" 200 17 \"http://r/\" \"Agent \\\"q\\\" 1\"";
    size_t referer = (size_t)(strstr(line, "http://r/") - line),
           agent = (size_t)(strstr(line, "Agent") - line), whole = sizeof line - 1;
    mpx_clf_line_t l;

    for (size_t n = 0; n <= whole; n++) {
        const char *wrong = mpx_clf_parse(pool, MPX_CLF_COMBINED, line, n, &l);
        int in_referer = n >= referer && n <= referer + 9, in_agent = n >= agent && n < whole;

        ck_assert_msg((wrong == NULL) == (n == whole || in_referer || in_agent), "%d characters: %s", (int)n,
                      wrong ? wrong : "good");
        ck_assert_msg(wrong || l.cut == (n < whole), "%d characters", (int)n);
        ck_assert(!in_referer || l.user_agent == NULL);
    }
    ck_assert_str_eq(l.user_agent, "Agent \"q\" 1");
    ck_assert_ptr_null(
        mpx_clf_parse(pool, MPX_CLF_COMBINED, "h - - " TIME REST "\r", sizeof "h - - " TIME REST, &l));
}
END_TEST

/* As ap_escape_logitem() is documented, written the other way round than the reader. */
static char *escape(char *to, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        switch (c) {
        case '"': to = stpcpy(to, "\\\""); break;
        case '\\': to = stpcpy(to, "\\\\"); break;
        case '\n': to = stpcpy(to, "\\n"); break;
        case '\t': to = stpcpy(to, "\\t"); break;
        default: to += sprintf(to, c < 32 || c > 126 ? "\\x%02x" : "%c", c);
        }
    }
    return to;
}

static void random_text(char *out, int n)
{
    static const char *const pieces[] = {
        "a", "Z", "0", "/", " ", "\"", "\\",
        "\n", "\t", "\x01", "\x7f", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
        "%20", "x41", "[", "]"
    };
    *out = '\0';
    while (n-- > 0) {
        strcat(out, pieces[(size_t)random() % (sizeof pieces / sizeof *pieces)]);
    }
    strcat(out, "."); /* neither empty nor "-" */
}

START_TEST(what_httpd_writes_is_read_back)
{
    srandom((unsigned)tap_seed(20261120));
    for (int round = 0; round < 5000; round++) {
        char agent[128], referer[128], path[128], line[2048], *at = line;
        long status = 100 + random() % 500, bytes = random();
        mpx_clf_line_t l;

        random_text(agent, (int)(random() % 20));
        random_text(referer, (int)(random() % 20));
        random_text(path, (int)(random() % 20));
        at += sprintf(at, "h - - " TIME "\"GET /");
        at = escape(at, path);
        at += sprintf(at, " HTTP/1.1\" %ld %ld \"", status, bytes);
        at = stpcpy(escape(at, referer), "\" \"");
        at = stpcpy(escape(at, agent), "\"");
        ck_assert_ptr_null(mpx_clf_parse(pool, MPX_CLF_COMBINED, line, (size_t)(at - line), &l));
        ck_assert_str_eq(l.path + 1, path);
        ck_assert_str_eq(l.referer, referer);
        ck_assert_str_eq(l.user_agent, agent);
        ck_assert(l.status == status && l.bytes == bytes && !l.cut);
        apr_pool_clear(pool);
    }
}
END_TEST

/* Whatever a line holds, it is read or refused, and what was read is UTF-8. */
START_TEST(any_line_is_borne)
{
    static const char good[] = "v:80 h - u " TIME "\"GET /\\xff\\\" HTTP/1.1\" 200 17 \"-\" \"\\\\Agent\"";

    srandom((unsigned)tap_seed(20261120));
    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)random() % sizeof good;
        char *line = malloc(len ? len : 1); /* its exact size, for the address sanitizer */
        mpx_clf_line_t l;

        memcpy(line, good + (random() % 2 ? 0 : sizeof good - 1 - len), len);
        for (long n = random() % 4; n > 0 && len; n--) {
            static const char odd[] = "\"\\ []-:/x\0\xff\xc3\n9";
            line[(size_t)random() % len] = odd[(size_t)random() % (sizeof odd - 1)];
        }
        if (mpx_clf_parse(pool, (mpx_clf_format_e)(random() % 3), line, len, &l) == NULL) {
            ck_assert(mpx_json_utf8_valid(l.client, strlen(l.client))
                      && mpx_json_utf8_valid(l.request, strlen(l.request)));
            ck_assert(!l.user_agent || mpx_json_utf8_valid(l.user_agent, strlen(l.user_agent)));
            ck_assert(l.bytes >= 0 && l.status >= 0 && l.status <= 999);
        }
        free(line);
        apr_pool_clear(pool);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clf");
    TCase *tcase = tcase_create("clf");

    apr_initialize();
    apr_pool_create(&pool, NULL);
    tcase_add_test(tcase, lines_of_access_logs);
    tcase_add_test(tcase, users_have_names);
    tcase_add_test(tcase, times_are_those_of_the_log);
    tcase_add_test(tcase, request_lines_are_taken_apart);
    tcase_add_test(tcase, escapes_are_undone_and_bytes_kept);
    tcase_add_test(tcase, a_line_cut_anywhere);
    tcase_add_test(tcase, what_httpd_writes_is_read_back);
    tcase_add_test(tcase, any_line_is_borne);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
