/* mpx_event: the JSON path of a meter. RFC 9535 section 2.3.5.1: a singular query is "$" and name and index
 * segments; nothing else can name one value.
 */
#include <apr_lib.h>
#include <apr_strings.h>
#include "mpx_event.h"
#include "mpx_utf8.h"

#define INDEX_MAX 2147483647 /* PostgreSQL reads a subscript as an int */

typedef struct path {
    apr_pool_t *pool;
    const char *p; /* NUL-terminated, valid UTF-8 */
    apr_array_header_t *steps;
} path_t;

static void skip_blank(path_t *path)
{
    while (*path->p == ' ' || *path->p == '\t' || *path->p == '\n' || *path->p == '\r') {
        path->p++;
    }
}

/* member-name-shorthand: a letter, "_" or anything beyond ASCII, then digits too */
static int read_shorthand(path_t *path)
{
    const char *begin = path->p, *p = begin;

    while (apr_isalpha(*p) || *p == '_' || (*p & 0x80) || (p > begin && apr_isdigit(*p))) {
        p++;
    }
    if (p == begin) {
        return 0;
    }
    APR_ARRAY_PUSH(path->steps, const char *) = apr_pstrmemdup(path->pool, begin, (apr_size_t)(p - begin));
    path->p = p;
    return 1;
}

/* \uXXXX, a pair of them for a surrogate pair; path->p is at the first digit. @return bytes put at out, or 0 */
static unsigned read_unicode(path_t *path, char *out)
{
    long point = mpx_utf8_hex4(path->p), low;

    if (point <= 0 || (point >= 0xDC00 && point <= 0xDFFF)) {
        return 0;
    }
    path->p += 4;
    if (point >= 0xD800 && point <= 0xDBFF) {
        low = path->p[0] == '\\' && path->p[1] == 'u' ? mpx_utf8_hex4(path->p + 2) : -1;
        if (low < 0xDC00 || low > 0xDFFF) {
            return 0;
        }
        point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
        path->p += 6;
    }
    return mpx_utf8_write((unsigned long)point, out);
}

static int read_quoted(path_t *path)
{
    static const char letters[] = "bfnrt/\\", meanings[] = "\b\f\n\r\t/\\";
    char quote = *path->p++, *out = apr_palloc(path->pool, strlen(path->p) + 1), *q = out;
    const char *letter;
    unsigned n;

    while (*path->p != quote) {
        char c = *path->p++;

        if ((unsigned char)c < 0x20) { /* the end of the text, too */
            return 0;
        }
        if (c != '\\') {
            *q++ = c;
            continue;
        }
        c = *path->p++;
        letter = c ? strchr(letters, c) : NULL;
        if (letter) {
            *q++ = meanings[letter - letters];
            continue;
        }
        if (c == quote) {
            *q++ = c;
            continue;
        }
        n = c == 'u' ? read_unicode(path, q) : 0;
        if (n == 0) {
            return 0;
        }
        q += n;
    }
    *q = '\0';
    path->p++;
    APR_ARRAY_PUSH(path->steps, const char *) = out;
    return 1;
}

/* 0, or an optional minus sign and digits without a leading zero */
static int read_index(path_t *path)
{
    const char *begin = path->p, *digits = begin + (*begin == '-'), *p = digits;
    apr_int64_t n = 0;

    for (; apr_isdigit(*p); p++) {
        n = n <= INDEX_MAX ? n * 10 + (*p - '0') : n;
    }
    if (p == digits || n > INDEX_MAX || (*digits == '0' && (p > digits + 1 || digits > begin))) {
        return 0;
    }
    APR_ARRAY_PUSH(path->steps, const char *) = apr_pstrmemdup(path->pool, begin, (apr_size_t)(p - begin));
    path->p = p;
    return 1;
}

static int read_bracket(path_t *path)
{
    skip_blank(path);
    if (!(*path->p == '\'' || *path->p == '"' ? read_quoted(path) : read_index(path))) {
        return 0;
    }
    skip_blank(path);
    return *path->p++ == ']';
}

apr_array_header_t *mpx_jsonpath_parse(apr_pool_t *pool, const char *text)
{
    path_t path = { pool, text, NULL };

    if (*path.p++ != '$' || !mpx_json_utf8_valid(text, strlen(text))) {
        return NULL;
    }
    path.steps = apr_array_make(pool, 4, sizeof(const char *));
    while (*path.p) {
        skip_blank(&path);
        if (*path.p == '.') {
            path.p++;
            if (!read_shorthand(&path)) {
                return NULL;
            }
        }
        else if (*path.p == '[') {
            path.p++;
            if (!read_bracket(&path)) {
                return NULL;
            }
        }
        else {
            return NULL; /* trailing white space, too */
        }
    }
    return path.steps;
}
