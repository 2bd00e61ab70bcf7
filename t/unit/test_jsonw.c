/* mpx_json, the writer: text, escapes, growth, calls in a wrong order. */
#include <signal.h>
#include <string.h>
#include <apr_general.h>
#include "tap.h"
#include "mpx_json.h"

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
    apr_terminate();
}

START_TEST(writer_text)
{
    mpx_jsonw_t *w = mpx_jsonw_make(pool);
    apr_size_t len;

    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "s", "a\"b\\c\n\x01\x7F/\xC3\xA9");
    mpx_jsonw_member_string(w, "none", NULL);
    mpx_jsonw_member_int(w, "min", APR_INT64_MIN);
    mpx_jsonw_member_bool(w, "t", 2);
    mpx_jsonw_member_bool(w, "f", 0);
    mpx_jsonw_member_null(w, "n");
    mpx_jsonw_member_raw(w, "raw", "1.50", 4);
    mpx_jsonw_key(w, "a/\"");
    mpx_jsonw_array(w);
    mpx_jsonw_int(w, 1);
    mpx_jsonw_array(w);
    mpx_jsonw_end(w);
    mpx_jsonw_object(w);
    mpx_jsonw_end(w);
    mpx_jsonw_string(w, "x");
    mpx_jsonw_end(w);
    mpx_jsonw_end(w);
    ck_assert_str_eq(mpx_jsonw_text(w, &len),
                     "{\"s\":\"a\\\"b\\\\c\\n\\u0001\x7F/\xC3\xA9\",\"none\":null,\"min\":-9223372036854775808,"
                     "\"t\":true,\"f\":false,\"n\":null,\"raw\":1.50,\"a/\\\"\":[1,[],{},\"x\"]}");
    ck_assert_uint_eq(len, strlen(mpx_jsonw_text(w, NULL)));

    w = mpx_jsonw_make(pool);
    mpx_jsonw_stringn(w, "\xC0\x80|\xED\xA0\x80|\xF0\x9F\x98|\xFF|a\0b", 16);
#define BAD "\xEF\xBF\xBD"
    ck_assert_str_eq(mpx_jsonw_text(w, NULL), "\"" BAD BAD "|" BAD BAD BAD "|" BAD BAD BAD "|" BAD "|a\\u0000b\"");
}
END_TEST

START_TEST(writer_grows)
{
    mpx_jsonw_t *w = mpx_jsonw_make(pool);
    mpx_json_limits_t limits = { 200, 65536, 65536 };
    mpx_json_error_t error;
    mpx_json_t *root;
    const char *text;
    apr_size_t len;
    int i;

    for (i = 0; i < 100; i++) {
        mpx_jsonw_array(w);
    }
    for (i = 0; i < 20000; i++) {
        mpx_jsonw_int(w, i);
    }
    for (i = 0; i < 100; i++) {
        mpx_jsonw_end(w);
    }
    text = mpx_jsonw_text(w, &len);
    ck_assert_int_eq(mpx_json_parse(pool, text, len, &limits, &root, &error), APR_SUCCESS);
    for (i = 0; i < 99; i++) {
        root = root->first;
    }
    ck_assert_uint_eq(root->count, 20000);
}
END_TEST

START_TEST(writer_misuse)
{
    mpx_jsonw_t *w = mpx_jsonw_make(pool);

    switch (_i) {
    case 0:
        mpx_jsonw_end(w);
        break;
    case 1:
        mpx_jsonw_key(w, "a");
        break;
    case 2:
        mpx_jsonw_null(w);
        mpx_jsonw_null(w);
        break;
    case 3:
        mpx_jsonw_object(w);
        mpx_jsonw_null(w);
        break;
    case 4:
        mpx_jsonw_array(w);
        mpx_jsonw_key(w, "a");
        break;
    default:
        mpx_jsonw_object(w);
        mpx_jsonw_key(w, "a");
        mpx_jsonw_end(w);
        break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mpx_jsonw");
    TCase *tcase = tcase_create("mpx_jsonw");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, writer_text);
    tcase_add_test(tcase, writer_grows);
    if (!getenv("CK_FORK") || strcmp(getenv("CK_FORK"), "no") != 0) { /* an abort needs a process of its own */
        tcase_add_loop_test_raise_signal(tcase, writer_misuse, SIGABRT, 0, 6);
    }
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
