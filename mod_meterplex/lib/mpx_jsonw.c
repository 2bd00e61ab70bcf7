/* mpx_json, the writer: text appended to one buffer in a pool, which doubles when it is full. */
#include <stdlib.h>
#include <apr_strings.h>
#include "mpx_json.h"
#include "mpx_utf8.h"

#define BUFFER_FIRST 512
#define LEVELS_FIRST 16

/* What a level (the root, an open array or object) waits for */
typedef enum level {
    LEVEL_ROOT,  /* the one value of the text */
    LEVEL_DONE,  /* nothing: the text is whole */
    LEVEL_FIRST, /* an array's first element */
    LEVEL_ARRAY, /* a further element */
    LEVEL_KEY1,  /* an object's first name */
    LEVEL_KEY,   /* a further name */
    LEVEL_VALUE  /* the value of the name just written */
} level_t;

struct mpx_jsonw {
    apr_pool_t *pool;
    char *text;
    apr_size_t len, size; /* size counts the NUL's place */
    unsigned char *levels;
    apr_size_t depth, levels_size; /* levels[depth] is the innermost */
};

/* A wrong order of calls is an error of the program; what is no JSON must not be sent. */
static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static char *reserve(mpx_jsonw_t *w, apr_size_t len)
{
    if (w->size - w->len <= len) {
        apr_size_t size = w->size * 2 > w->len + len + 1 ? w->size * 2 : w->len + len + 1;
        char *text = apr_palloc(w->pool, size);

        memcpy(text, w->text, w->len);
        w->text = text;
        w->size = size;
    }
    return w->text + w->len;
}

static void put(mpx_jsonw_t *w, const char *text, apr_size_t len)
{
    memcpy(reserve(w, len), text, len);
    w->len += len;
}

/* Before a value: the comma it may need, and what its level waits for then. */
static void value_begin(mpx_jsonw_t *w)
{
    unsigned char *level = &w->levels[w->depth];

    switch (*level) {
    case LEVEL_ROOT:
        *level = LEVEL_DONE;
        break;
    case LEVEL_FIRST:
        *level = LEVEL_ARRAY;
        break;
    case LEVEL_ARRAY:
        put(w, ",", 1);
        break;
    case LEVEL_VALUE:
        *level = LEVEL_KEY;
        break;
    default:
        must(0);
    }
}

static void level_push(mpx_jsonw_t *w, level_t level)
{
    if (++w->depth == w->levels_size) {
        unsigned char *levels = apr_palloc(w->pool, w->levels_size * 2);

        memcpy(levels, w->levels, w->levels_size);
        w->levels = levels;
        w->levels_size *= 2;
    }
    w->levels[w->depth] = (unsigned char)level;
}

static void put_escape(mpx_jsonw_t *w, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char raw[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = c ? strchr(raw, c) : NULL;
    char escape[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

    if (found) {
        escape[1] = letters[found - raw];
        put(w, escape, 2);
        return;
    }
    put(w, escape, 6);
}

static void put_string(mpx_jsonw_t *w, const char *value, apr_size_t len)
{
    const unsigned char *p = (const unsigned char *)value, *end = p + len, *run;
    unsigned n;

    put(w, "\"", 1);
    while (p < end) {
        run = p;
        p = mpx_utf8_plain_run(p, end);
        put(w, (const char *)run, (apr_size_t)(p - run));
        if (p == end) {
            break;
        }
        if (*p < 0x80) {
            put_escape(w, *p++);
            continue;
        }
        n = mpx_utf8_sequence(p, end);
        if (n == 0) {
            put(w, "\xEF\xBF\xBD", 3);
            p++;
            continue;
        }
        put(w, (const char *)p, n);
        p += n;
    }
    put(w, "\"", 1);
}

mpx_jsonw_t *mpx_jsonw_make(apr_pool_t *pool)
{
    mpx_jsonw_t *w = apr_palloc(pool, sizeof(*w));

    w->pool = pool;
    w->text = apr_palloc(pool, BUFFER_FIRST);
    w->len = 0;
    w->size = BUFFER_FIRST;
    w->levels = apr_palloc(pool, LEVELS_FIRST);
    w->levels[0] = LEVEL_ROOT;
    w->depth = 0;
    w->levels_size = LEVELS_FIRST;
    return w;
}

void mpx_jsonw_object(mpx_jsonw_t *w)
{
    value_begin(w);
    put(w, "{", 1);
    level_push(w, LEVEL_KEY1);
}

void mpx_jsonw_array(mpx_jsonw_t *w)
{
    value_begin(w);
    put(w, "[", 1);
    level_push(w, LEVEL_FIRST);
}

void mpx_jsonw_end(mpx_jsonw_t *w)
{
    unsigned char level = w->levels[w->depth];

    must(w->depth > 0 && level != LEVEL_VALUE);
    put(w, level == LEVEL_KEY1 || level == LEVEL_KEY ? "}" : "]", 1);
    w->depth--;
}

void mpx_jsonw_key(mpx_jsonw_t *w, const char *name)
{
    unsigned char *level = &w->levels[w->depth];

    must(*level == LEVEL_KEY1 || *level == LEVEL_KEY);
    if (*level == LEVEL_KEY) {
        put(w, ",", 1);
    }
    put_string(w, name, strlen(name));
    put(w, ":", 1);
    *level = LEVEL_VALUE;
}

void mpx_jsonw_string(mpx_jsonw_t *w, const char *value)
{
    if (!value) {
        mpx_jsonw_null(w);
        return;
    }
    mpx_jsonw_stringn(w, value, strlen(value));
}

void mpx_jsonw_stringn(mpx_jsonw_t *w, const char *value, apr_size_t len)
{
    value_begin(w);
    put_string(w, value, len);
}

void mpx_jsonw_int(mpx_jsonw_t *w, apr_int64_t value)
{
    char digits[24];
    int len = apr_snprintf(digits, sizeof(digits), "%" APR_INT64_T_FMT, value);

    mpx_jsonw_raw(w, digits, (apr_size_t)len);
}

void mpx_jsonw_bool(mpx_jsonw_t *w, int value)
{
    mpx_jsonw_raw(w, value ? "true" : "false", value ? 4 : 5);
}

void mpx_jsonw_null(mpx_jsonw_t *w)
{
    mpx_jsonw_raw(w, "null", 4);
}

void mpx_jsonw_raw(mpx_jsonw_t *w, const char *json, apr_size_t len)
{
    value_begin(w);
    put(w, json, len);
}

void mpx_jsonw_member_string(mpx_jsonw_t *w, const char *name, const char *value)
{
    mpx_jsonw_key(w, name);
    mpx_jsonw_string(w, value);
}

void mpx_jsonw_member_int(mpx_jsonw_t *w, const char *name, apr_int64_t value)
{
    mpx_jsonw_key(w, name);
    mpx_jsonw_int(w, value);
}

void mpx_jsonw_member_bool(mpx_jsonw_t *w, const char *name, int value)
{
    mpx_jsonw_key(w, name);
    mpx_jsonw_bool(w, value);
}

void mpx_jsonw_member_null(mpx_jsonw_t *w, const char *name)
{
    mpx_jsonw_key(w, name);
    mpx_jsonw_null(w);
}

void mpx_jsonw_member_raw(mpx_jsonw_t *w, const char *name, const char *json, apr_size_t len)
{
    mpx_jsonw_key(w, name);
    mpx_jsonw_raw(w, json, len);
}

const char *mpx_jsonw_text(mpx_jsonw_t *w, apr_size_t *len)
{
    *reserve(w, 0) = '\0';
    if (len) {
        *len = w->len;
    }
    return w->text;
}

const char *mpx_jsonw_line(mpx_jsonw_t *w, apr_size_t *len)
{
    put(w, "\n", 1);
    return mpx_jsonw_text(w, len);
}
