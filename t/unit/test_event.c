/* mpx_event: five forms, each rule on an attribute, numbers in range, JSON paths. */
#include <string.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "tap.h"
#include "mpx_event.h"

#define NOW APR_TIME_C(1795213080000000) /* 2026-11-20T22:18:00Z */
#define DAY (apr_time_from_sec(86400))
#define E "\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""

static apr_pool_t *pool;
static mpx_event_rules_t rules;
static apr_array_header_t *events, *errors;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    memset(&rules, 0, sizeof(rules));
    rules.now = NOW;
    rules.ahead = DAY;
    rules.behind = 35 * DAY;
    rules.max_events = 10000;
    rules.json.depth = 32;
    rules.json.values = 65536;
    rules.json.string = 65536;
}

static void teardown(void)
{
    apr_pool_destroy(pool);
    apr_terminate();
}

static mpx_json_t *parse(const char *text)
{
    mpx_json_error_t error;
    mpx_json_t *root;

    ck_assert_msg(mpx_json_parse(pool, text, strlen(text), &rules.json, &root, &error) == APR_SUCCESS, "%s: %s", text,
                  error.message);
    return root;
}

static void fresh(void)
{
    events = apr_array_make(pool, 4, sizeof(mpx_event_t));
    errors = apr_array_make(pool, 4, sizeof(mpx_field_error_t));
}

static int read_plain(const char *text)
{
    fresh();
    return mpx_events_read(pool, parse(text), 0, 1, 1, &rules, events, errors);
}

static const mpx_event_t *event(int i)
{
    ck_assert_int_lt(i, events->nelts);
    return &APR_ARRAY_IDX(events, i, mpx_event_t);
}

static const mpx_field_error_t *nth(int i)
{
    ck_assert_int_lt(i, errors->nelts);
    return &APR_ARRAY_IDX(errors, i, mpx_field_error_t);
}

static void is_error(int i, const char *pointer, const char *code)
{
    ck_assert_str_eq(nth(i)->pointer, pointer);
    ck_assert_msg(strcmp(nth(i)->code, code) == 0, "%s: %s", nth(i)->code, nth(i)->detail);
}

static void right(const char *members)
{
    int n = read_plain(apr_psprintf(pool, "{" E ",%s}", members));

    ck_assert_msg(n == 0, "%s: %s", members, n ? nth(0)->detail : "");
    ck_assert_int_eq(events->nelts, 1);
}

static void wrong(const char *members, const char *pointer, const char *code)
{
    int n = read_plain(apr_psprintf(pool, "{" E ",%s}", members));

    ck_assert_msg(n == 1, "%s: %d errors", members, n);
    ck_assert_int_eq(errors->nelts, 1);
    ck_assert_int_eq(events->nelts, 0);
    is_error(0, pointer, code);
}

/* An event in which one of the required is replaced */
static void wrong_text(const char *name, const char *value, const char *code)
{
    static const char *const names[] = { "id", "source", "type" };
    const char *text = "{";
    unsigned i;

    for (i = 0; i < 3; i++) {
        text = apr_pstrcat(pool, text, i ? "," : "", "\"", names[i], "\":",
                           strcmp(name, names[i]) == 0 ? value : "\"x\"", NULL);
    }
    ck_assert_msg(read_plain(apr_pstrcat(pool, text, "}", NULL)) == (code ? 1 : 0), "%s", name);
    if (code) {
        is_error(0, apr_pstrcat(pool, "/", name, NULL), code);
    }
}

static const char *long_text(apr_size_t len)
{
    char *text = apr_palloc(pool, len + 3);

    memset(text, 'k', len + 2);
    text[0] = text[len + 1] = '"';
    text[len + 2] = '\0';
    return text;
}

START_TEST(one_event)
{
    ck_assert_int_eq(read_plain("{\"specversion\":\"1.0\",\"id\":\"A-1\",\"source\":\"/gw\",\"type\":\"http.request\","
                                "\"subject\":\"cust\",\"time\":\"2026-11-20T22:00:00.5Z\",\"occurrences\":7,"
                                "\"datacontenttype\":\"application/json\",\"dataschema\":\"https://x/y\","
                                "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\","
                                "\"tracestate\":\"a=b\",\"data\": {\"n\": 1.50} }"),
                     0);
    ck_assert_str_eq(event(0)->id, "A-1");
    ck_assert_str_eq(event(0)->source, "/gw");
    ck_assert_str_eq(event(0)->type, "http.request");
    ck_assert_str_eq(event(0)->subject, "cust");
    ck_assert(event(0)->time == NOW - 18 * 60 * APR_USEC_PER_SEC + 500000);
    ck_assert_int_eq(event(0)->occurrences, 7);
    ck_assert_uint_eq(event(0)->data_len, 11);
    ck_assert_mem_eq(event(0)->data, "{\"n\": 1.50}", 11);
    ck_assert_int_eq(read_plain("{" E "}"), 0);
    ck_assert_ptr_null(event(0)->subject);
    ck_assert_ptr_null(event(0)->data);
    ck_assert(event(0)->time == NOW);
    ck_assert_int_eq(event(0)->occurrences, 1);
    ck_assert_int_eq(read_plain("{" E ",\"subject\":null,\"time\":null,\"data\":null,\"occurrences\":null}"), 0);
    ck_assert_ptr_null(event(0)->data);
    ck_assert(event(0)->time == NOW);
}
END_TEST

START_TEST(attribute_rules)
{
    static const struct {
        const char *name;
        apr_size_t max;
    } texts[] = { { "id", 256 }, { "source", 256 }, { "type", 128 } };
    unsigned i;

    for (i = 0; i < 3; i++) {
        wrong_text(texts[i].name, long_text(texts[i].max), NULL);
        wrong_text(texts[i].name, long_text(texts[i].max + 1), "length");
        wrong_text(texts[i].name, "\"\"", "length");
        wrong_text(texts[i].name, "null", "required");
        wrong_text(texts[i].name, "7", "type");
        wrong_text(texts[i].name, "\"a\\nb\"", "pattern");
        wrong_text(texts[i].name, "\"a\\u0085\"", "pattern");
        wrong_text(texts[i].name, "\"\xE2\x82\xAC\"", NULL);
    }
    right(apr_pstrcat(pool, "\"subject\":", long_text(256), NULL));
    wrong(apr_pstrcat(pool, "\"subject\":", long_text(257), NULL), "/subject", "length");
    wrong("\"subject\":\"\"", "/subject", "length");
    wrong("\"subject\":[\"a\"]", "/subject", "type");
    right("\"specversion\":\"1.0\"");
    wrong("\"specversion\":\"0.3\"", "/specversion", "choice");
    wrong("\"specversion\":1.0", "/specversion", "type");
    right("\"datacontenttype\":\"Application/JSON; charset=utf-8\"");
    wrong("\"datacontenttype\":\"text/xml\"", "/datacontenttype", "choice");
    wrong("\"datacontenttype\":\"application/jsonx\"", "/datacontenttype", "choice");
    wrong("\"datacontenttype\":\"application\"", "/datacontenttype", "choice");
    wrong("\"tmie\":\"x\"", "/tmie", "unknown_field");
    wrong("\"a/b\":1", "/a~1b", "unknown_field");
    wrong("\"ID\":\"x\"", "/ID", "unknown_field");
    wrong("\"extension\":null", "/extension", "unknown_field");
    wrong("\"data_base64\":\"AAAA\"", "/data_base64", "unsupported");
    right("\"data\":{}");
    wrong("\"data\":[1]", "/data", "type");
    wrong("\"data\":\"{}\"", "/data", "type");
    wrong("\"data\":0", "/data", "type");
}
END_TEST

START_TEST(occurrences)
{
    right("\"occurrences\":1");
    right("\"occurrences\":1000000000");
    ck_assert_int_eq(event(0)->occurrences, 1000000000);
    wrong("\"occurrences\":0", "/occurrences", "range");
    wrong("\"occurrences\":-0", "/occurrences", "range");
    wrong("\"occurrences\":-1", "/occurrences", "range");
    wrong("\"occurrences\":1000000001", "/occurrences", "range");
    wrong("\"occurrences\":18446744073709551617", "/occurrences", "range");
    wrong("\"occurrences\":1.0", "/occurrences", "type");
    wrong("\"occurrences\":1e3", "/occurrences", "type");
    wrong("\"occurrences\":\"1\"", "/occurrences", "type");
    wrong("\"occurrences\":true", "/occurrences", "type");
}
END_TEST

START_TEST(times)
{
    right("\"time\":\"2026-11-21T22:18:00Z\"");
    wrong("\"time\":\"2026-11-21T22:18:00.000001Z\"", "/time", "range");
    right("\"time\":\"2026-10-16T22:18:00Z\"");
    wrong("\"time\":\"2026-10-16T22:17:59.999999Z\"", "/time", "range");
    wrong("\"time\":\"yesterday\"", "/time", "format");
    wrong("\"time\":1795213080", "/time", "type");
    right("\"time\":\"2026-11-22T00:18:00+02:00\"");
    rules.behind = -1;
    right("\"time\":\"0001-01-01T00:00:00Z\"");
    wrong("\"time\":\"9999-12-31T23:59:59Z\"", "/time", "range");
}
END_TEST

START_TEST(forms)
{
    static const char one[] = "{\"specversion\":\"1.0\"," E "}", many[] = "[{\"specversion\":\"1.0\"," E "},{" E "}]";

    fresh();
    ck_assert_int_eq(mpx_events_read(pool, parse(one), 1, 0, 1, &rules, events, errors), 0);
    ck_assert_int_eq(mpx_events_read(pool, parse(many), 1, 1, 0, &rules, events, errors), 1);
    is_error(0, "/1/specversion", "required");
    fresh();
    ck_assert_int_eq(mpx_events_read(pool, parse(many), 1, 0, 1, &rules, events, errors), 1);
    is_error(0, "", "type");
    fresh();
    ck_assert_int_eq(mpx_events_read(pool, parse(one), 1, 1, 0, &rules, events, errors), 1);
    is_error(0, "", "type");
    ck_assert_int_eq(read_plain(many), 0);
    ck_assert_int_eq(events->nelts, 2);
    ck_assert_int_eq(read_plain("[]"), 0);
    ck_assert_int_eq(events->nelts, 0);
    ck_assert_int_eq(read_plain("7"), 1);
    is_error(0, "", "type");
    ck_assert_int_eq(read_plain("[{" E "},null,{" E ",\"time\":\"x\"},[]]"), 3);
    is_error(0, "/1", "type");
    is_error(1, "/2/time", "format");
    is_error(2, "/3", "type");
    ck_assert_int_eq(read_plain("[{},{\"x\":1}]"), 7);
    is_error(0, "/0/id", "required");
    is_error(2, "/0/type", "required");
    is_error(3, "/1/x", "unknown_field");
    is_error(6, "/1/type", "required");
}
END_TEST

START_TEST(many_events)
{
    char *text = apr_palloc(pool, 4096), *p = text;
    int i;

    rules.max_events = 3;
    ck_assert_int_eq(read_plain("[{" E "},{" E "},{" E "}]"), 0);
    ck_assert_int_eq(read_plain("[{" E "},{" E "},{" E "},{}]"), 1);
    is_error(0, "", "length");
    ck_assert_int_eq(events->nelts, 0);
    rules.max_events = 10000;
    *p++ = '[';
    for (i = 0; i < 120; i++) { /* three errors each */
        p += sprintf(p, "%s{}", i ? "," : "");
    }
    strcpy(p, "]");
    ck_assert_int_eq(read_plain(text), 360);
    ck_assert_int_eq(errors->nelts, 100);
    is_error(99, "/33/id", "required");
    ck_assert_ptr_nonnull(strstr(nth(99)->detail, "260 further errors"));
}
END_TEST

static int read_ndjson(const char *text, mpx_json_error_t *syntax)
{
    fresh();
    return mpx_events_read_ndjson(pool, text, strlen(text), &rules, events, errors, syntax);
}

START_TEST(ndjson)
{
    mpx_json_error_t syntax = { 0, NULL };

    ck_assert_int_eq(read_ndjson("", &syntax), 0);
    ck_assert_int_eq(events->nelts, 0);
    ck_assert_int_eq(read_ndjson("{" E "}", &syntax), 0);
    ck_assert_int_eq(events->nelts, 1);
    ck_assert_int_eq(read_ndjson("\n{" E "}\r\n \t\r\n\n{" E ",\"subject\":\"z\"}\n", &syntax), 0);
    ck_assert_int_eq(events->nelts, 2);
    ck_assert_str_eq(event(1)->subject, "z");
    ck_assert_int_eq(read_ndjson("\n{" E "}\n\n{" E ",\"time\":0}\n[]\n", &syntax), 2);
    is_error(0, "/1/time", "type");
    is_error(1, "/2", "type");
    ck_assert_int_eq(read_ndjson("{" E "}\n{]\n", &syntax), -1);
    ck_assert_uint_eq(syntax.offset, strlen("{" E "}\n{"));
    ck_assert_str_eq(syntax.message, "a member name is expected here");
    ck_assert_int_eq(read_ndjson("{" E ",\n\"subject\":\"z\"}", &syntax), -1); /* an object on two lines */
    rules.max_events = 2;
    ck_assert_int_eq(read_ndjson("{" E "}\n{" E "}\n\n", &syntax), 0);
    ck_assert_int_eq(read_ndjson("{}\n{" E "}\n{" E "}", &syntax), 1);
    is_error(0, "", "length");
}
END_TEST

/* The bound on values holds for all lines together. */
START_TEST(ndjson_values)
{
    mpx_json_error_t syntax;
    apr_size_t before = rules.json.values;

    rules.json.values = 40;
    ck_assert_int_eq(
        read_ndjson("[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]\n[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", &syntax), 2);
    ck_assert_int_eq(
        read_ndjson("[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]\n[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]\n0", &syntax), -1);
    ck_assert_str_eq(syntax.message, "too many values");
    ck_assert_uint_eq(syntax.offset, 80);
    rules.json.values = before;
}
END_TEST

static apr_table_t *headers(void)
{
    apr_table_t *t = apr_table_make(pool, 8);

    apr_table_setn(t, "specversion", "1.0");
    apr_table_setn(t, "id", "1");
    apr_table_setn(t, "source", "/s");
    apr_table_setn(t, "type", "t");
    return t;
}

static int read_binary(const apr_table_t *t, const char *body)
{
    fresh();
    return mpx_event_read_binary(pool, t, body ? parse(body) : NULL, &rules, events, errors);
}

START_TEST(binary)
{
    apr_table_t *t = headers();

    ck_assert_int_eq(read_binary(t, NULL), 0);
    ck_assert_ptr_null(event(0)->data);
    apr_table_setn(t, "time", "2026-11-20T22:00:00Z");
    apr_table_setn(t, "subject", "caf\xC3\xA9");
    apr_table_setn(t, "occurrences", "12");
    ck_assert_int_eq(read_binary(t, " {\"a\":1} "), 0);
    ck_assert_str_eq(event(0)->subject, "caf\xC3\xA9");
    ck_assert_int_eq(event(0)->occurrences, 12);
    ck_assert_uint_eq(event(0)->data_len, 7);
    ck_assert_int_eq(read_binary(t, "null"), 0);
    ck_assert_int_eq(read_binary(t, "[1]"), 1);
    is_error(0, "/data", "type");
    ck_assert_int_eq(events->nelts, 0);
    ck_assert_int_eq(read_binary(t, "{\"a\":[0,1e99]}"), 1);
    is_error(0, "/data/a/1", "range");

    t = headers();
    apr_table_unset(t, "specversion");
    ck_assert_int_eq(read_binary(t, NULL), 1);
    is_error(0, "/specversion", "required");
    t = headers();
    apr_table_setn(t, "occurrences", "1.5");
    ck_assert_int_eq(read_binary(t, NULL), 1);
    is_error(0, "/occurrences", "type");
    t = headers();
    apr_table_setn(t, "subject", "\xFF");
    ck_assert_int_eq(read_binary(t, NULL), 1);
    is_error(0, "/subject", "format");
    t = headers();
    apr_table_setn(t, "tyqe", "x");
    ck_assert_int_eq(read_binary(t, NULL), 1);
    is_error(0, "/tyqe", "unknown_field");
    t = headers();
    apr_table_setn(t, "data", "x");
    ck_assert_int_eq(read_binary(t, "{}"), 1);
    is_error(0, "/data", "unknown_field");
    t = headers();
    apr_table_addn(t, "id", "2");
    ck_assert_int_eq(read_binary(t, "{}"), 1);
    is_error(0, "/id", "duplicate");
    ck_assert_int_eq(events->nelts, 0);
}
END_TEST

/* --- numbers in range ------------------------------------------------------------------------------ */

#define RANGE_38 "99999999999999999999999999999999999999"

/* "a" with so many zeros between two texts */
static const char *written(const char *before, int zeros, const char *after)
{
    char *text = apr_palloc(pool, 64 + (apr_size_t)zeros), *nought = apr_palloc(pool, (apr_size_t)zeros + 1);

    memset(nought, '0', (apr_size_t)zeros);
    nought[zeros] = '\0';
    sprintf(text, "\"data\":{\"a\":%s%s%s}", before, nought, after);
    return text;
}

START_TEST(numbers)
{
    wrong("\"data\":{\"a\":1e39}", "/data/a", "range");
    wrong("\"data\":{\"a\":{\"b/c\":[1,2,[-1e-19]]}}", "/data/a/b~1c/2/0", "range");
    wrong("\"data\":{\"a\":1e131071}", "/data/a", "range");
    /* jsonb would keep sixteen thousand places of nothing for each */
    wrong("\"data\":{\"a\":[0,0e-16383]}", "/data/a/1", "range");
    wrong("\"data\":{\"a\":-0.0E-19}", "/data/a", "range");
    wrong("\"data\":{\"a\":0e38}", "/data/a", "range");
    wrong("\"data\":{\"a\":0e99999999999999999999}", "/data/a", "range");
    wrong("\"data\":{\"a\":-" RANGE_38 "9}", "/data/a", "range");
    right("\"data\":{\"a\":" RANGE_38 ".999999999999999999}");
    /* the value is 1, and the database has no room for so many places behind its point */
    right(written("1.", 16383, ""));
    wrong(written("1.", 16384, ""), "/data/a", "range");
    wrong(written("0.", 16384, ""), "/data/a", "range");
    right(written("1", 16383, "e-16383"));
    wrong(written("1", 16384, "e-16384"), "/data/a", "range");
    right(written("0.", 20000, "1e20000"));
    right("\"data\":{\"a\":1e37,\"b\":1e-18,\"c\":0e37,\"c2\":-0.0E-18,\"d\":1.50000000000000000000000}");
    ck_assert_int_eq(read_plain("[{" E "},{" E ",\"data\":{\"a\":[1e99,1,1e98],\"b\":1e97}}]"), 3);
    is_error(0, "/1/data/a/0", "range");
    is_error(1, "/1/data/a/2", "range");
    is_error(2, "/1/data/b", "range");
    ck_assert_ptr_null(mpx_json_numbers_in_range(pool, parse("{\"a\":[1,{\"b\":2}]}"), "/x"));
    ck_assert_str_eq(mpx_json_numbers_in_range(pool, parse("{\"a\":[1,{\"b\":1e40}],\"c\":1e41}"), "/x"), "/x/a/1/b");
    ck_assert_str_eq(mpx_json_numbers_in_range(pool, parse("1e40"), "/x"), "/x");
    ck_assert_ptr_null(mpx_json_numbers_in_range(pool, parse("\"1e40\""), "/x"));
}
END_TEST

static unsigned long long state;

static unsigned rnd(unsigned n)
{
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)((state >> 33) % n);
}

/* The number written out on paper: 400 places, the point between 200 and 201; which places hold a digit? */
static int fits_on_paper(const char *whole, const char *fraction, int exponent)
{
    char paper[400];
    int i, n = (int)strlen(whole), high = 0, low = 400;

    memset(paper, '0', sizeof(paper));
    for (i = 0; i < n; i++) {
        paper[200 - n + i - exponent] = whole[i];
    }
    for (i = 0; fraction[i]; i++) {
        paper[200 + i - exponent] = fraction[i];
    }
    for (i = 0; i < 400; i++) {
        if (paper[i] != '0') {
            low = i < low ? i : low;
            high = i;
        }
    }
    return low == 400 ? exponent >= -18 && exponent < 38 : low >= 200 - 38 && high < 200 + 18;
}

START_TEST(random_numbers)
{
    int loop, good = 0;

    state = tap_seed((unsigned long long)apr_time_now());
    for (loop = 0; loop < 20000; loop++) {
        char whole[64], fraction[64], text[200];
        int n = 1 + (int)rnd(rnd(2) ? 5 : 45), m = (int)rnd(rnd(2) ? 5 : 25), exponent = (int)rnd(90) - 45, i, ours;

        for (i = 0; i < n; i++) {
            whole[i] = (char)('0' + (rnd(3) ? rnd(10) : 0));
        }
        whole[n] = '\0';
        if (whole[0] == '0' && n > 1) {
            whole[0] = '1';
        }
        for (i = 0; i < m; i++) {
            fraction[i] = (char)('0' + (rnd(3) ? rnd(10) : 0));
        }
        fraction[m] = '\0';
        exponent = rnd(3) ? exponent : 0;
        apr_snprintf(text, sizeof(text), "%s%s%s%s", rnd(2) ? "-" : "", whole, m ? "." : "", fraction);
        if (exponent || rnd(4) == 0) {
            apr_snprintf(text + strlen(text), 20, "%c%s%d", rnd(2) ? 'e' : 'E', exponent >= 0 && rnd(2) ? "+" : "",
                         exponent);
        }
        ours = mpx_json_numbers_in_range(pool, parse(text), "") == NULL;
        ck_assert_msg(ours == fits_on_paper(whole, fraction, exponent), "%s: %s", text, ours ? "accepted" : "refused");
        good += ours;
        apr_pool_clear(pool);
    }
    ck_assert_int_gt(good, 2000);
    ck_assert_int_lt(good, 18000);
}
END_TEST

/* --- JSON path ------------------------------------------------------------------------------------- */

/* @param steps joined by '|' */
static void path_is(const char *path, const char *steps)
{
    apr_array_header_t *array = mpx_jsonpath_parse(pool, path);

    if (!steps) {
        ck_assert_msg(array == NULL, "%s: accepted", path);
        return;
    }
    ck_assert_msg(array != NULL, "%s: refused", path);
    ck_assert_str_eq(apr_array_pstrcat(pool, array, '|'), steps);
}

START_TEST(paths)
{
    static const char *const bad[] = { "", "a", "$a", "$.", "$..a", "$.a.", "$.*", "$[*]", "$.1a", "$.a-b", "$[", "$[]",
                                       "$['a]", "$['a'", "$[a]", "$[01]", "$[-0]", "$[-]",
                                       "$[1:2]", "$['a','b']", "$[?@.a]",
                                       "$[2147483648]",
                                       "$.a ", " $.a", "$['\\x']", "$['\\\"']", "$[\"\\'\"]", "$['\\u0000']",
                                       "$['\\uD800']", "$['\\uDC00']", "$['a\nb']", "$.\xFF", "$['\xC0\x80']", "@.a", "$. a",
                                       "$['\\u12']", "$['\\" };
    unsigned i;

    path_is("$.tokens", "tokens");
    path_is("$.a.b", "a|b");
    path_is("$['a b']", "a b");
    path_is("$[\"a b\"].c", "a b|c");
    path_is("$.a[0].b", "a|0|b");
    path_is("$.a[10][-1]", "a|10|-1");
    path_is("$._x1.caf\xC3\xA9", "_x1|caf\xC3\xA9");
    path_is("$ [ 'a' ] .b", "a|b");
    path_is("$['it\\'s']", "it's");
    path_is("$[\"\\\"\"]", "\"");
    path_is("$['\\n\\t\\\\\\/\\u0041\\uD83D\\uDE00']", "\n\t\\/A\xF0\x9F\x98\x80");
    path_is("$['a.b']['']['x']", "a.b||x");
    ck_assert_int_eq(mpx_jsonpath_parse(pool, "$")->nelts, 0);
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        path_is(bad[i], NULL);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mpx_event");
    TCase *tcase = tcase_create("event");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, one_event);
    tcase_add_test(tcase, attribute_rules);
    tcase_add_test(tcase, occurrences);
    tcase_add_test(tcase, times);
    tcase_add_test(tcase, forms);
    tcase_add_test(tcase, many_events);
    tcase_add_test(tcase, ndjson);
    tcase_add_test(tcase, ndjson_values);
    tcase_add_test(tcase, binary);
    tcase_add_test(tcase, numbers);
    tcase_add_test(tcase, random_numbers);
    tcase_add_test(tcase, paths);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
