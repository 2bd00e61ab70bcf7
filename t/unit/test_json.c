/* mpx_json, the reader: RFC 8259, our stricter rules, the limits. */
#include <string.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <jansson.h>
#include "tap.h"
#include "mpx_json.h"

static apr_pool_t *pool;
static mpx_json_limits_t limits = MPX_JSON_LIMITS_DEFAULT;
static mpx_json_error_t error;

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

static apr_status_t release(void *memory)
{
    free(memory);
    return APR_SUCCESS;
}

/* The text in memory of just its size, so that a read behind its end is seen by AddressSanitizer. It lives as
 * long as the pool. */
static char *exact(const char *text, apr_size_t len)
{
    char *copy = malloc(len ? len : 1);

    memcpy(copy, text, len);
    apr_pool_cleanup_register(pool, copy, release, apr_pool_cleanup_null);
    return copy;
}

/* @return the root, or NULL and error set */
static mpx_json_t *parse(const char *text, apr_size_t len)
{
    mpx_json_t *root = NULL;

    error.message = NULL;
    error.offset = 0;
    if (mpx_json_parse(pool, exact(text, len), len, &limits, &root, &error) != APR_SUCCESS) {
        ck_assert_ptr_nonnull(error.message);
        ck_assert_uint_le(error.offset, len);
        return NULL;
    }
    ck_assert_ptr_nonnull(root);
    return root;
}

static mpx_json_t *parse_text(const char *text)
{
    return parse(text, strlen(text));
}

static void refused(const char *text, apr_size_t len, apr_size_t offset, const char *message)
{
    ck_assert_msg(!parse(text, len), "accepted: %.*s", (int)len, text);
    ck_assert_msg(strcmp(error.message, message) == 0, "%.*s: %s", (int)len, text, error.message);
    ck_assert_msg(error.offset == offset, "%.*s: noticed at %lu", (int)len, text, (unsigned long)error.offset);
}

#define REFUSED(text, offset, message) refused(text, sizeof(text) - 1, offset, message)

static int is_text(const mpx_json_t *node, const char *text)
{
    return node->len == strlen(text) && memcmp(node->text, text, node->len) == 0;
}

START_TEST(rfc8259_object)
{
    static const char text[] = "{\"Image\": {\"Width\":  800, \"Height\": 600, \"Title\":  \"View from 15th Floor\","
                               "\"Thumbnail\": {\"Url\":    \"http://www.example.com/image/481989943\","
                               "\"Height\": 125, \"Width\":  100}, \"Animated\" : false,"
                               "\"IDs\": [116, 943, 234, 38793]}}";
    const mpx_json_t *root = parse_text(text), *image, *ids;

    ck_assert_ptr_nonnull(root);
    ck_assert_int_eq(root->type, MPX_JSON_OBJECT);
    ck_assert_ptr_null(root->name);
    ck_assert(is_text(root, text));
    image = mpx_json_member(root, "Image");
    ck_assert_ptr_nonnull(image);
    ck_assert_uint_eq(image->count, 6);
    ck_assert_str_eq(image->first->name, "Width");
    ck_assert_uint_eq(image->first->name_len, 5);
    ck_assert(is_text(image->first, "800"));
    ck_assert_str_eq(mpx_json_member(image, "Title")->text, "View from 15th Floor");
    ck_assert(is_text(mpx_json_member(image, "Animated"), "false"));
    ck_assert_int_eq(mpx_json_member(image, "Animated")->type, MPX_JSON_FALSE);
    ck_assert_str_eq(mpx_json_member(mpx_json_member(image, "Thumbnail"), "Url")->text,
                     "http://www.example.com/image/481989943");
    ids = mpx_json_member(image, "IDs");
    ck_assert_int_eq(ids->type, MPX_JSON_ARRAY);
    ck_assert_uint_eq(ids->count, 4);
    ck_assert(is_text(ids, "[116, 943, 234, 38793]"));
    ck_assert_ptr_null(ids->first->name);
    ck_assert(is_text(ids->first->next->next->next, "38793"));
    ck_assert_ptr_null(ids->first->next->next->next->next);
    ck_assert_ptr_null(mpx_json_member(image, "width"));
    ck_assert_ptr_null(mpx_json_member(ids, "Width"));
}
END_TEST

START_TEST(rfc8259_values)
{
    static const char *const texts[] = { "\"Hello world!\"", "42", "true", "false", "null", "[]", "{}", " \t\r\n0 \n",
                                         "[ ]", "{ }", "[[[]]]", "{\"\":0}", "\"\"", "[1,\n2]" };
    unsigned i;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert_msg(parse_text(texts[i]) != NULL, "%s: %s", texts[i], error.message);
    }
    ck_assert_int_eq(parse_text("true")->type, MPX_JSON_TRUE);
    ck_assert_int_eq(parse_text("null")->type, MPX_JSON_NULL);
    ck_assert_int_eq(parse_text("-0")->type, MPX_JSON_NUMBER);
    ck_assert_str_eq(parse_text("{\"\":0}")->first->name, "");
    ck_assert_str_eq(parse_text("\"\"")->text, "");
}
END_TEST

START_TEST(number_grammar)
{
    static const char *const good[] = { "0", "-0", "1", "-1", "10", "0.5", "-0.0", "1e5", "1E5", "1e+5", "1e-5", "0e0",
                                        "1.25e0003", "1e131071", "1e-131071", "1e99999999999999999999",
                                        "123456789012345678901234567890123456789012345678901234567890" };
    unsigned i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        const mpx_json_t *number = parse_text(good[i]);

        ck_assert_msg(number && number->type == MPX_JSON_NUMBER && is_text(number, good[i]), "%s", good[i]);
    }
    REFUSED("-", 1, "a number needs a digit here");
    REFUSED("1.", 2, "a number needs a digit here");
    REFUSED("1.e5", 2, "a number needs a digit here");
    REFUSED(".5", 0, "a value is expected here");
    REFUSED("+1", 0, "a value is expected here");
    REFUSED("1e", 2, "a number needs a digit here");
    REFUSED("1e+", 3, "a number needs a digit here");
    REFUSED("01", 0, "a number has a leading zero");
    REFUSED("-01", 1, "a number has a leading zero");
    REFUSED("00", 0, "a number has a leading zero");
    REFUSED("0x10", 1, "text after the end of the value");
    REFUSED("1 2", 2, "text after the end of the value");
    REFUSED("--1", 1, "a number needs a digit here");
    REFUSED("-Infinity", 1, "a number needs a digit here");
    REFUSED("NaN", 0, "a value is expected here");
}
END_TEST

START_TEST(structure)
{
    REFUSED("", 0, "a value is expected here");
    REFUSED("  ", 2, "a value is expected here");
    REFUSED("[", 1, "a value is expected here");
    REFUSED("[1", 2, "a comma or ] is expected here");
    REFUSED("[1,]", 3, "a value is expected here");
    REFUSED("[,1]", 1, "a value is expected here");
    REFUSED("[1}", 2, "a comma or ] is expected here");
    REFUSED("{", 1, "a member name is expected here");
    REFUSED("{1:2}", 1, "a member name is expected here");
    REFUSED("{\"a\"}", 4, "a colon is expected here");
    REFUSED("{\"a\":}", 5, "a value is expected here");
    REFUSED("{\"a\":1", 6, "a comma or } is expected here");
    REFUSED("{\"a\":1,}", 7, "a member name is expected here");
    REFUSED("{\"a\":1]", 6, "a comma or } is expected here");
    REFUSED("]", 0, "a value is expected here");
    REFUSED("tru", 0, "a value is expected here");
    REFUSED("nulL", 0, "a value is expected here");
    REFUSED("truex", 4, "text after the end of the value");
    REFUSED("'a'", 0, "a value is expected here");
    REFUSED("[1]//", 3, "text after the end of the value");
    REFUSED("{} {}", 3, "text after the end of the value");
    REFUSED("{}\0", 2, "text after the end of the value");
    REFUSED("\0{}", 0, "a value is expected here");
    REFUSED("[1\0]", 2, "a comma or ] is expected here");
    REFUSED("\f1", 0, "a value is expected here");
    REFUSED("\xEF\xBB\xBF{}", 0, "byte order mark");
    REFUSED("\xC2\xA0{}", 0, "a value is expected here");
}
END_TEST

START_TEST(escapes)
{
    const mpx_json_t *s = parse_text("\"\\\"\\\\\\/\\b\\f\\n\\r\\tz\"");

    ck_assert_ptr_nonnull(s);
    ck_assert_str_eq(s->text, "\"\\/\b\f\n\r\tz");
    s = parse_text("\"x\\u00e9\\u20AC\\uD83D\\ude00\\u0001 plain text of some length \\u0041\"");
    ck_assert_ptr_nonnull(s);
    ck_assert_str_eq(s->text, "x\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\x01 plain text of some length A");
    ck_assert_uint_eq(s->len, strlen(s->text));
    s = parse_text("\"\\uD800\\uDC00\\uDBFF\\uDFFF\"");
    ck_assert_ptr_nonnull(s);
    ck_assert_str_eq(s->text, "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF");
    REFUSED("\"\\a\"", 1, "unknown escape");
    REFUSED("\"\\U0041\"", 1, "unknown escape");
    REFUSED("\"\\\0\"", 1, "unknown escape");
    REFUSED("\"\\u12\"", 1, "\\u without four hexadecimal digits");
    REFUSED("\"\\u12G4\"", 1, "\\u without four hexadecimal digits");
    REFUSED("\"\\u\"", 1, "\\u without four hexadecimal digits");
    REFUSED("\"\\", 2, "unterminated string");
    REFUSED("\"\\\"", 3, "unterminated string");
    REFUSED("\"abc", 4, "unterminated string");
    REFUSED("[\"abc", 5, "unterminated string");
}
END_TEST

START_TEST(characters_refused)
{
    REFUSED("\"\\u0000\"", 1, "U+0000 in a string");
    REFUSED("\"long enough for words\\u0000\"", 22, "U+0000 in a string");
    REFUSED("{\"a\\u0000\":1}", 3, "U+0000 in a string");
    REFUSED("\"a\0b\"", 2, "control character in a string");
    REFUSED("\"a\nb\"", 2, "control character in a string");
    REFUSED("\"\x1F\"", 1, "control character in a string");
    REFUSED("\"\\n\x1F\"", 3, "control character in a string");
    ck_assert_ptr_nonnull(parse_text("\"\x7F\"")); /* DEL is no control character to JSON */
    /* surrogates */
    REFUSED("\"\\uD800\"", 1, "lone surrogate");
    REFUSED("\"\\uDBFFx\"", 1, "lone surrogate");
    REFUSED("\"\\uDC00\"", 1, "lone surrogate");
    REFUSED("\"\\uDFFF\\uD800\"", 1, "lone surrogate");
    REFUSED("\"\\uD800\\uD800\"", 1, "lone surrogate");
    REFUSED("\"\\uD800\\u0041\"", 1, "lone surrogate");
    REFUSED("\"\\uD800\\n\"", 1, "lone surrogate");
    REFUSED("{\"\\uD834\":1}", 2, "lone surrogate");
}
END_TEST

START_TEST(utf8)
{
    static const char *const good[] = { "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                                        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "\xEF\xBB\xBF" };
    static const char *const bad[] = {
        "\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x41", "\xC3\xC3", "\xE0\x80\x80", "\xE0\x9F\xBF",
        "\xE2\x82", "\xE2\x82\x41", "\xE2\x41\x82", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF", "\xF0\x9F\x98", "\xF0\x9F\x98\x41", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xF8\x88\x80\x80\x80", "\xFC\x84\x80\x80\x80\x80", "\xFE", "\xFF"
    };
    unsigned i, lead;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        const char *text = apr_psprintf(pool, "\"a%sb\"", good[i]);

        ck_assert_msg(parse_text(text) != NULL, "good %u: %s", i, error.message);
        ck_assert(mpx_json_utf8_valid(good[i], strlen(good[i])));
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (lead = 0; lead < 10; lead++) { /* at each place of a word of eight */
            const char *text = apr_psprintf(pool, "\"%.*s%s\"", (int)lead, "abcdefghij", bad[i]);

            refused(text, strlen(text), 1 + lead, "invalid UTF-8");
            text = apr_psprintf(pool, "\"\\n%.*s%s\"", (int)lead, "abcdefghij", bad[i]);
            refused(text, strlen(text), 3 + lead, "invalid UTF-8");
        }
        ck_assert(!mpx_json_utf8_valid(bad[i], strlen(bad[i])));
    }
    ck_assert(!mpx_json_utf8_valid("a\0b", 3));
    ck_assert(mpx_json_utf8_valid("", 0));
    ck_assert(mpx_json_utf8_valid("a\"b\\c\n\x7F", 7));
}
END_TEST

/* Every code point, as UTF-8 of jansson's making and as an escape of ours */
START_TEST(every_code_point)
{
    char text[32];
    unsigned long point;

    for (point = 1; point < 0x110000; point += point < 0x3000 || point > 0xD7F0 ? 1 : 37) {
        mpx_json_t *root;
        json_t *theirs;
        int pair = point > 0xFFFF;

        if (pair) {
            sprintf(text, "\"\\u%04lX\\u%04lx\"", 0xD800 + ((point - 0x10000) >> 10), 0xDC00 + ((point - 0x10000) & 0x3FF));
        }
        else {
            sprintf(text, "\"\\u%04lx\"", point);
        }
        theirs = json_loads(text, JSON_DECODE_ANY, NULL);
        ck_assert_int_eq(mpx_json_parse(pool, text, strlen(text), &limits, &root, &error) == APR_SUCCESS, theirs != NULL);
        if (theirs) {
            ck_assert_str_eq(root->text, json_string_value(theirs));
            ck_assert(mpx_json_utf8_valid(root->text, root->len));
            json_decref(theirs);
        }
        if ((point & 0xFFF) == 0) {
            apr_pool_clear(pool);
        }
        if (point > 0x11000 && point < 0x10F000) {
            point += 1009;
        }
    }
}
END_TEST

START_TEST(values)
{
    limits.values = 5;
    ck_assert_ptr_nonnull(parse_text("[1,{\"a\":2},3]"));
    ck_assert_ptr_null(parse_text("[1,{\"a\":2},3,4]"));
    ck_assert_str_eq(error.message, "too many values");
    ck_assert_uint_eq(error.offset, 13);
    ck_assert_ptr_null(parse_text("[[],[],[],[],[]]"));
    limits.values = 1;
    ck_assert_ptr_nonnull(parse_text("[]"));
    ck_assert_ptr_null(parse_text("[[]]"));
}
END_TEST

static char *nested(char open, char close, unsigned depth)
{
    char *text = apr_palloc(pool, depth * 8 + 1), *p = text;
    unsigned i;

    for (i = 0; i < depth; i++) {
        p += sprintf(p, open == '{' ? "{\"a\":" : "[");
    }
    if (open == '{') {
        *p++ = '1';
    }
    for (i = 0; i < depth; i++) {
        *p++ = close;
    }
    *p = '\0';
    return text;
}

START_TEST(depth)
{
    unsigned levels;

    ck_assert_ptr_nonnull(parse_text(nested('[', ']', 32)));
    ck_assert_ptr_null(parse_text(nested('[', ']', 33)));
    ck_assert_str_eq(error.message, "nested too deeply");
    ck_assert_uint_eq(error.offset, 32);
    ck_assert_ptr_nonnull(parse_text(nested('{', '}', 32)));
    ck_assert_ptr_null(parse_text(nested('{', '}', 33)));
    ck_assert_str_eq(error.message, "nested too deeply");
    for (levels = 0; levels < 200; levels += 7) {
        limits.depth = levels;
        ck_assert_msg(levels == 0 || parse_text(nested('[', ']', levels)) != NULL, "%u", levels);
        ck_assert_ptr_null(parse_text(nested('[', ']', levels + 1)));
    }
    limits.depth = 0;
    ck_assert_ptr_nonnull(parse_text("1"));
}
END_TEST

START_TEST(string_limit)
{
    static const char *const unit[] = { "x", "\\n", "\\u0041", "\xC3\xA9", "\\u20AC" };
    static const unsigned bytes[] = { 1, 1, 1, 2, 3 };
    unsigned i, n;

    for (i = 0; i < 5; i++) {
        for (n = 1; n < 4; n++) {
            char *text = apr_pstrcat(pool, n > 0 ? unit[i] : "", n > 1 ? unit[i] : "", n > 2 ? unit[i] : "", NULL);
            char *string = apr_pstrcat(pool, "\"", text, "\"", NULL);
            char *name = apr_pstrcat(pool, "{\"", text, "\":1}", NULL);

            limits.string = n * bytes[i];
            ck_assert_msg(parse_text(string) != NULL && parse_text(name) != NULL, "%s", text);
            limits.string = n * bytes[i] - 1;
            ck_assert_msg(parse_text(string) == NULL, "%s", text);
            ck_assert_str_eq(error.message, "string too long");
            ck_assert_ptr_null(parse_text(name));
            ck_assert_str_eq(error.message, "string too long");
        }
    }
    limits.string = 65536;
    for (n = 65535; n <= 65537; n++) {
        char *text = apr_palloc(pool, n + 2);

        memset(text, 'y', n + 2);
        text[0] = text[n + 1] = '"';
        ck_assert_int_eq(parse(text, n + 2) != NULL, n <= 65536);
        memcpy(text + n / 2, "\\t", 2); /* one byte less when decoded */
        ck_assert_int_eq(parse(text, n + 2) != NULL, n <= 65537);
    }
}
END_TEST

/* {"m0":0,...}, and at the end one more member of the name that is numbered again */
static const char *many_members(int n, int again)
{
    char *text = apr_palloc(pool, (apr_size_t)n * 24 + 64), *p = text;
    int i;

    *p++ = '{';
    for (i = 0; i < n; i++) {
        p += sprintf(p, "%s\"m%d\":%d", i ? "," : "", i, i);
    }
    if (again >= 0) {
        p += sprintf(p, ",\"\\u006d%d\":true", again);
    }
    strcpy(p, "}");
    return text;
}

START_TEST(duplicates)
{
    static const int sizes[] = { 1, 2, 15, 16, 17, 18, 31, 33, 100, 10000 };
    unsigned i;
    int again;

    REFUSED("{\"a\":1,\"a\":1}", 7, "duplicate member name");
    REFUSED("{\"a\":1,\"\\u0061\":2}", 7, "duplicate member name");
    REFUSED("{\"\":1,\"\":2}", 6, "duplicate member name");
    REFUSED("{\"x\":{\"a\":1,\"b\":2,\"a\":3}}", 18, "duplicate member name");
    ck_assert_ptr_nonnull(parse_text("{\"a\":1,\"A\":2,\"aa\":3,\"ab\":{\"a\":1},\"ba\":[{\"a\":1},{\"a\":2}]}"));
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const mpx_json_t *root = parse_text(many_members(sizes[i], -1)), *child;
        int k = 0;

        ck_assert_ptr_nonnull(root);
        ck_assert_uint_eq(root->count, (unsigned)sizes[i]);
        for (child = root->first; child; child = child->next, k++) {
            ck_assert_str_eq(child->name, apr_psprintf(pool, "m%d", k)); /* in input order still */
        }
        ck_assert_int_eq(k, sizes[i]);
        for (again = 0; again < sizes[i]; again += sizes[i] / 9 + 1) {
            ck_assert_ptr_null(parse_text(many_members(sizes[i], again)));
            ck_assert_str_eq(error.message, "duplicate member name");
        }
    }
}
END_TEST

START_TEST(pointer_tokens)
{
    ck_assert_str_eq(mpx_json_pointer_token(pool, "plain"), "plain");
    ck_assert_str_eq(mpx_json_pointer_token(pool, ""), "");
    ck_assert_str_eq(mpx_json_pointer_token(pool, "a/b"), "a~1b");
    ck_assert_str_eq(mpx_json_pointer_token(pool, "m~n"), "m~0n");
    ck_assert_str_eq(mpx_json_pointer_token(pool, "~1/"), "~01~1");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mpx_json");
    TCase *tcase = tcase_create("mpx_json");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, rfc8259_object);
    tcase_add_test(tcase, rfc8259_values);
    tcase_add_test(tcase, number_grammar);
    tcase_add_test(tcase, structure);
    tcase_add_test(tcase, escapes);
    tcase_add_test(tcase, characters_refused);
    tcase_add_test(tcase, utf8);
    tcase_add_test(tcase, every_code_point);
    tcase_add_test(tcase, depth);
    tcase_add_test(tcase, values);
    tcase_add_test(tcase, string_limit);
    tcase_add_test(tcase, duplicates);
    tcase_add_test(tcase, pointer_tokens);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
