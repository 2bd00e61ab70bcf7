/* mpx_json: random and mutated documents, which jansson must judge and read the same way. */
#include <math.h>
#include <string.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <apr_time.h>
#include <jansson.h>
#include "tap.h"
#include "mpx_json.h"

#define LOOPS 4000

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

static unsigned long long state;

static unsigned rnd(unsigned n)
{
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)((state >> 33) % n);
}

typedef struct text {
    char bytes[65536];
    apr_size_t len;
} text_t;

static void add(text_t *t, const char *s)
{
    apr_size_t n = strlen(s);

    ck_assert_uint_lt(t->len + n, sizeof(t->bytes));
    memcpy(t->bytes + t->len, s, n);
    t->len += n;
}

static void add_space(text_t *t)
{
    static const char *const spaces[] = { "", "", "", "", " ", "\n", "\t", "\r\n  " };

    add(t, spaces[rnd(8)]);
}

static void add_string(text_t *t)
{
    static const char *const pieces[] = { "a", "b", "id", "0123456789abcdef", "\\\"", "\\\\", "\\/", "\\b", "\\u0061",
                                          "\\ud83D\\uDe00", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\\u20ac",
                                          " ", "{", "]", "," };
    unsigned n = rnd(5);

    add(t, "\"");
    while (n--) {
        add(t, pieces[rnd(sizeof(pieces) / sizeof(pieces[0]))]);
    }
    add(t, "\"");
}

static void add_value(text_t *t, unsigned depth_left)
{
    static const char *const words[] = { "null", "true", "false", "0", "-1", "12345678901234567", "1.5", "-0.25e-3", "7E2" };
    unsigned n, i, kind = rnd(depth_left && t->len < 30000 ? 12 : 8);

    if (kind < 5) {
        add(t, words[rnd(9)]);
    }
    else if (kind < 8) {
        add_string(t);
    }
    else {
        n = rnd(30) == 0 ? 40 : rnd(6);
        add(t, kind < 10 ? "[" : "{");
        for (i = 0; i < n; i++) {
            add(t, i ? "," : "");
            add_space(t);
            if (kind >= 10) {
                add_string(t);
                add_space(t);
                add(t, ":");
                add_space(t);
            }
            add_value(t, depth_left - 1);
            add_space(t);
        }
        add(t, kind < 10 ? "]" : "}");
    }
}

/* Both trees the same? Numbers by value: jansson keeps no text. */
static void compare(const mpx_json_t *ours, const json_t *theirs)
{
    const mpx_json_t *child;
    char number[64];
    size_t i = 0;

    switch (ours->type) {
    case MPX_JSON_NULL:
        ck_assert(json_is_null(theirs));
        break;
    case MPX_JSON_FALSE:
        ck_assert(json_is_false(theirs));
        break;
    case MPX_JSON_TRUE:
        ck_assert(json_is_true(theirs));
        break;
    case MPX_JSON_NUMBER:
        ck_assert(json_is_number(theirs));
        apr_snprintf(number, sizeof(number), "%.*s", (int)ours->len, ours->text);
        ck_assert(fabs(strtod(number, NULL) - json_number_value(theirs)) <= fabs(json_number_value(theirs)) * 1e-15);
        break;
    case MPX_JSON_STRING:
        ck_assert(json_is_string(theirs));
        ck_assert_uint_eq(ours->len, json_string_length(theirs));
        ck_assert_str_eq(ours->text, json_string_value(theirs));
        break;
    case MPX_JSON_ARRAY:
        ck_assert(json_is_array(theirs));
        ck_assert_uint_eq(ours->count, json_array_size(theirs));
        for (child = ours->first; child; child = child->next, i++) {
            compare(child, json_array_get(theirs, i));
        }
        ck_assert_uint_eq(i, ours->count);
        break;
    case MPX_JSON_OBJECT:
        ck_assert(json_is_object(theirs));
        ck_assert_uint_eq(ours->count, json_object_size(theirs));
        for (child = ours->first; child; child = child->next, i++) {
            ck_assert_uint_eq(strlen(child->name), child->name_len);
            compare(child, json_object_get(theirs, child->name));
        }
        ck_assert_uint_eq(i, ours->count);
        break;
    }
}

/* A text given to both: one verdict, one structure. @return accepted */
static int agree(const char *bytes, apr_size_t len)
{
    json_error_t why;
    char *copy = exact(bytes, len);
    json_t *theirs = json_loadb(copy, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    mpx_json_t *ours = parse(bytes, len);

    if (ours && !theirs) {
        /* a number beyond a double is none of the reader's business */
        ck_assert_msg(json_error_code(&why) == json_error_numeric_overflow, "jansson: %s\n%.*s", why.text, (int)len, bytes);
        return 1;
    }
    ck_assert_msg(!theirs || ours, "we refuse: %s\n%.*s", error.message, (int)len, bytes);
    if (ours) {
        compare(ours, theirs);
        json_decref(theirs);
    }
    return ours != NULL;
}

START_TEST(random_documents)
{
    text_t *t = malloc(sizeof(*t));
    int i, accepted = 0, refused_by_both = 0;

    state = tap_seed((unsigned long long)apr_time_now());
    for (i = 0; i < LOOPS; i++) {
        t->len = 0;
        add_space(t);
        add_value(t, 1 + rnd(8));
        add_space(t);
        if (agree(t->bytes, t->len)) {
            accepted++;
        }
        else {
            refused_by_both++;
            ck_assert_str_eq(error.message, "duplicate member name");
        }
        apr_pool_clear(pool);
    }
    free(t);
    ck_assert_int_gt(accepted, LOOPS / 2);
    ck_assert_int_gt(refused_by_both, 0);
}
END_TEST

START_TEST(random_mutations)
{
    static const char likely[] = "\"\\{}[]:,0123456789eE+-.u \n\x80\xBF\xC2\xE0\xED\xF0\xF4\xFFnulltrue\x1F";
    text_t *t = malloc(sizeof(*t));
    int i;

    state = tap_seed((unsigned long long)apr_time_now());
    for (i = 0; i < LOOPS; i++) {
        unsigned n = 1 + rnd(3);

        t->len = 0;
        add_value(t, 1 + rnd(4));
        while (n-- && t->len > 0) {
            apr_size_t at = rnd((unsigned)t->len);
            char c = rnd(2) ? likely[rnd(sizeof(likely) - 1)] : (char)(1 + rnd(255));

            if (rnd(3) == 0) {
                t->len = at;
            }
            else {
                t->bytes[at] = c;
            }
        }
        agree(t->bytes, t->len);
        if (t->len > 0) { /* and with a NUL, of which jansson thinks otherwise */
            t->bytes[rnd((unsigned)t->len)] = '\0';
            ck_assert_ptr_null(parse(t->bytes, t->len));
        }
        apr_pool_clear(pool);
    }
    free(t);
}
END_TEST

/* What was read, written again, reads the same */
static void write_again(mpx_jsonw_t *w, const mpx_json_t *node)
{
    const mpx_json_t *child;

    switch (node->type) {
    case MPX_JSON_STRING:
        mpx_jsonw_stringn(w, node->text, node->len);
        break;
    case MPX_JSON_ARRAY:
    case MPX_JSON_OBJECT:
        if (node->type == MPX_JSON_ARRAY) {
            mpx_jsonw_array(w);
        }
        else {
            mpx_jsonw_object(w);
        }
        for (child = node->first; child; child = child->next) {
            if (child->name) {
                mpx_jsonw_key(w, child->name);
            }
            write_again(w, child);
        }
        mpx_jsonw_end(w);
        break;
    default:
        mpx_jsonw_raw(w, node->text, node->len);
        break;
    }
}

START_TEST(random_round_trip)
{
    text_t *t = malloc(sizeof(*t));
    int i;

    state = tap_seed((unsigned long long)apr_time_now());
    for (i = 0; i < LOOPS / 4; i++) {
        const mpx_json_t *ours;

        t->len = 0;
        add_value(t, 1 + rnd(6));
        ours = parse(t->bytes, t->len);
        if (ours) {
            mpx_jsonw_t *w = mpx_jsonw_make(pool);
            json_t *theirs;
            const char *text;
            apr_size_t len;

            write_again(w, ours);
            text = mpx_jsonw_text(w, &len);
            theirs = json_loadb(text, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
            ck_assert_msg(theirs != NULL, "%s", text);
            compare(ours, theirs);
            json_decref(theirs);
        }
        apr_pool_clear(pool);
    }
    free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mpx_json_random");
    TCase *tcase = tcase_create("mpx_json_random");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, random_documents);
    tcase_add_test(tcase, random_mutations);
    tcase_add_test(tcase, random_round_trip);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
