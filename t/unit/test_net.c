/* mpx_net: addresses, blocks, trace context; mpx_clf: lines of access logs. */
#include <string.h>

#include <apr_general.h>

#include "mpx_clf.h"
#include "mpx_net.h"
#include "mpx_time.h"
#include "tap.h"

static apr_pool_t *pool;

static int contains(const char *block, const char *address)
{
    mpx_cidr_t cidr;
    mpx_addr_t addr;
    ck_assert_msg(mpx_cidr_parse(block, &cidr), "%s", block);
    ck_assert_msg(mpx_addr_parse(address, &addr), "%s", address);
    return mpx_cidr_contains(&cidr, &addr);
}

START_TEST(blocks_hold_addresses)
{
    static const char *const bad[] = { "", "10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "::/129", "2001:db8::1/32", "1.2.3.4/", "a",
                                       "10.0.0.0/08", "10.0.0.0/-1" };
    mpx_cidr_t cidr;
    mpx_addr_t a, b;

    ck_assert(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
    ck_assert(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.8"));
    ck_assert(contains("10.0.0.0/8", "::ffff:10.1.2.3")); /* both spellings are one address */
    ck_assert(contains("0.0.0.0/0", "8.8.8.8") && !contains("0.0.0.0/0", "2001:db8::1"));
    ck_assert(contains("2001:db8::/32", "2001:db8:1::1") && !contains("2001:db8::/32", "2001:db9::"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(!mpx_cidr_parse(bad[i], &cidr), "%s", bad[i]);
    }
    mpx_addr_parse("2001:db8::1:2:3:4", &a);
    mpx_addr_parse("2001:db8::ffff", &b);
    mpx_addr_client(&a);
    mpx_addr_client(&b);
    ck_assert_int_eq(memcmp(&a, &b, sizeof a), 0);
    mpx_addr_parse("192.0.2.1", &a);
    mpx_addr_parse("192.0.2.2", &b);
    mpx_addr_client(&a);
    mpx_addr_client(&b);
    ck_assert_int_ne(memcmp(&a, &b, sizeof a), 0);
}
END_TEST

START_TEST(trace_parents)
{
    static const char good[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    static const char *const bad[] = {
        "", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
    };
    char text[MPX_TRACEPARENT_TEXT];
    mpx_trace_t trace;

    ck_assert(mpx_traceparent_parse(good, &trace));
    ck_assert_str_eq(mpx_traceparent_format(&trace, text), good);
    ck_assert(mpx_traceparent_parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", &trace));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(!mpx_traceparent_parse(bad[i], &trace), "%s", bad[i]);
    }
}
END_TEST

static const char *parse(mpx_clf_format_e format, const char *line, mpx_clf_line_t *out)
{
    return mpx_clf_parse(pool, format, line, strlen(line), out);
}

START_TEST(lines_of_access_logs)
{
    mpx_clf_line_t l;

    ck_assert_ptr_null(parse(MPX_CLF_COMBINED, "83.149.9.216 - anna [17/May/2015:10:05:03 +0200] \"GET /a%20b?x=1 HTTP/1.1\" 200 "
                             "203023 \"http://r.example/\" \"Agent \\\"q\\\" \\xc3\\xa4 \\xff\"", &l));
    ck_assert_str_eq(l.client, "83.149.9.216");
    ck_assert_str_eq(l.user, "anna");
    ck_assert_str_eq(mpx_time_text(pool, l.time), "2015-05-17T08:05:03Z");
    ck_assert_str_eq(l.method, "GET");
    ck_assert_str_eq(l.path, "/a%20b?x=1");
    ck_assert_str_eq(l.protocol, "HTTP/1.1");
    ck_assert(l.status == 200 && l.bytes == 203023 && !l.cut);
    ck_assert_str_eq(l.user_agent, "Agent \"q\" \xc3\xa4 \\xff");
    ck_assert_ptr_null(parse(MPX_CLF_COMBINED, "::1 - - [01/Jan/2026:00:00:00 +0000] \"\\x16\\x03\\x01\" 400 - \"-\" \"-\"", &l));
    ck_assert(l.method == NULL && l.bytes == 0 && l.referer == NULL && l.user_agent == NULL);
    ck_assert_ptr_null(parse(MPX_CLF_COMBINED, "::1 - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 200 1 \"-\" \"cut off", &l));
    ck_assert_int_eq(l.cut, 1);
    ck_assert_str_eq(l.user_agent, "cut off");
    ck_assert_ptr_null(parse(MPX_CLF_COMMON, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 304 0", &l));
    ck_assert_ptr_null(parse(MPX_CLF_VHOST_COMBINED, "v:80 h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 304 0 \"-\" \"-\"", &l));
    ck_assert_str_eq(l.vhost, "v:80");
    ck_assert_ptr_nonnull(parse(MPX_CLF_COMBINED, "", &l));
    ck_assert_ptr_nonnull(parse(MPX_CLF_COMBINED, "garbage", &l));
    ck_assert_ptr_nonnull(parse(MPX_CLF_COMBINED, "h - - [32/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 304 0 \"-\" \"-\"", &l));
    ck_assert_ptr_nonnull(parse(MPX_CLF_COMBINED, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 30 0 \"-\" \"-\"", &l));
    ck_assert_ptr_nonnull(parse(MPX_CLF_COMBINED, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 200 x \"-\" \"-\"", &l));
    ck_assert_ptr_nonnull(parse(MPX_CLF_COMMON, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0\" 200 1 more", &l));
    ck_assert_ptr_nonnull(parse(MPX_CLF_COMBINED, "h - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.0", &l));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net");
    TCase *tcase = tcase_create("net");

    apr_initialize();
    apr_pool_create(&pool, NULL);
    tcase_add_test(tcase, blocks_hold_addresses);
    tcase_add_test(tcase, trace_parents);
    tcase_add_test(tcase, lines_of_access_logs);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
