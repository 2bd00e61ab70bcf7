/* core_path.c: see core_path.h. */
#include "core_path.h"

#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "../include/meterplex_call.h"

#define IF_MATCH_MAX 4096

int core_path_matches(const char *pattern, const char *path, apr_table_t *params)
{
    while (*pattern && *path) {
        if (*pattern == '{') {
            const char *name = pattern + 1, *close = strchr(name, '}'), *end = strchr(path, '/');
            apr_size_t len = end ? (apr_size_t)(end - path) : strlen(path);
            if (len == 0) {
                return 0;
            }
            if (params) {
                apr_pool_t *pool = apr_table_elts(params)->pool;
                apr_table_setn(params, apr_pstrmemdup(pool, name, (apr_size_t)(close - name)),
                               apr_pstrmemdup(pool, path, len));
            }
            pattern = close + 1;
            path += len;
        }
        else if (*pattern++ != *path++) {
            return 0;
        }
    }
    return *pattern == '\0' && *path == '\0';
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : apr_isxdigit(c) ? (c | 0x20) - 'a' + 10
                                                            : -1;
}

static char *decode(apr_pool_t *pool, const char *text, apr_size_t len, apr_size_t *outlen)
{
    char *out = apr_palloc(pool, len + 1), *at = out;
    apr_size_t i;

    for (i = 0; i < len; i++) {
        if (text[i] == '%') {
            int high = i + 2 < len ? hex_digit(text[i + 1]) : -1, low = i + 2 < len ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return NULL;
            }
            *at++ = (char)(high << 4 | low);
            i += 2;
        }
        else {
            *at++ = (char)(text[i] == '+' ? ' ' : text[i]);
        }
    }
    *at = '\0';
    *outlen = (apr_size_t)(at - out);
    return out;
}

const char *core_query_parse(apr_pool_t *pool, const char *query, apr_table_t *out)
{
    const char *at = query, *end, *equals;

    for (; at && *at; at = *end ? end + 1 : end) {
        char *name, *value;
        apr_size_t name_len, value_len;

        end = strchr(at, '&');
        end = end ? end : at + strlen(at);
        if (end == at) {
            continue;
        }
        equals = memchr(at, '=', (apr_size_t)(end - at));
        name = decode(pool, at, (apr_size_t)((equals ? equals : end) - at), &name_len);
        value = equals ? decode(pool, equals + 1, (apr_size_t)(end - equals - 1), &value_len) : apr_pstrdup(pool, "");
        if (!equals) {
            value_len = 0;
        }
        if (name == NULL || value == NULL) {
            return "The query string has a malformed percent-escape.";
        }
        if (!mpx_json_utf8_valid(name, name_len) || !mpx_json_utf8_valid(value, value_len)) {
            return "The query string is not valid UTF-8, or contains U+0000.";
        }
        if (apr_table_get(out, name)) {
            return apr_psprintf(pool, "The query parameter \"%s\" is given more than once.", name);
        }
        apr_table_setn(out, name, value);
    }
    return NULL;
}

int core_etag_listed(const char *list, const char *tag, int weak)
{
    apr_size_t len = strlen(tag);
    const char *at = list;

    while (*at) {
        int is_weak = 0;
        const char *close;
        at += strspn(at, " \t,");
        if (*at == '*') {
            return 1;
        }
        if (at[0] == 'W' && at[1] == '/') {
            is_weak = 1;
            at += 2;
        }
        if (*at != '"' || (close = strchr(at + 1, '"')) == NULL) {
            return 0;
        }
        if ((weak || !is_weak) && (apr_size_t)(close + 1 - at) == len && memcmp(at, tag, len) == 0) {
            return 1;
        }
        at = close + 1;
    }
    return 0;
}

char *core_etag_text(const mpx_uuid_t *id, apr_int64_t version, char *out)
{
    char uuid[MPX_UUID_TEXT];
    apr_snprintf(out, CORE_ETAG_TEXT, "\"%s.%" APR_INT64_T_FMT "\"", mpx_uuid_format(id, uuid), version);
    return out;
}

/* The list's tags without what stands behind the version: a change of the resource is meant, not one of what it counts. */
static const char *versions_only(const char *list, char *out, apr_size_t size)
{
    apr_size_t n = 0;
    int dots = 0, inside = 0;

    for (; *list && n + 1 < size; list++) {
        if (*list == '"') {
            inside = !inside;
            dots = 0;
        }
        dots += inside && *list == '.';
        if (dots < 2) {
            out[n++] = *list;
        }
    }
    out[n] = '\0';
    return *list ? "" : out;
}

int mpx_etag_matches(const char *if_match, const mpx_uuid_t *id, apr_int64_t version)
{
    char tag[CORE_ETAG_TEXT], list[IF_MATCH_MAX];
    return if_match == NULL
        || core_etag_listed(versions_only(if_match, list, sizeof list), core_etag_text(id, version, tag), 0);
}

/* --- Redaction ----------------------------------------------------------------------------------------------------------------- */

static char meant(const char *text, apr_size_t *n);

/* The name as it stands in the text, escapes and all. */
static int secret_name(const char *text, apr_size_t text_len)
{
    static const char *const words[] = { "key", "token", "secret", "password", "passwd", "signature", "authorization",
                                         "code", "credential", "session", "jwt", "bearer", NULL };
    /* parts of other words, too: */
    static const char *const whole[] = { "pwd", "pass", "sig", "auth", "sid", "otp", "pin", NULL };
    char name[256];
    int i;
    apr_size_t k, step, len = 0;

    for (k = 0; k < text_len && len < sizeof name; k += step) {
        name[len++] = meant(text + k, &step);
    }
    for (i = 0; words[i]; i++) {
        apr_size_t n = strlen(words[i]);
        for (k = 0; k + n <= len; k++) {
            if (strncasecmp(name + k, words[i], n) == 0) {
                return 1;
            }
        }
    }
    for (k = 0; k < len; k += step + 1) { /* user[pass], user.pass */
        for (step = 0; k + step < len && apr_isalnum(name[k + step]); step++) {
        }
        for (i = 0; whole[i]; i++) {
            if (step == strlen(whole[i]) && strncasecmp(name + k, whole[i], step) == 0) {
                return 1;
            }
        }
    }
    return 0;
}

/* The character that a text means at this place, an escape decoded. @param n set to the bytes that it takes */
static char meant(const char *text, apr_size_t *n)
{
    if (text[0] == '%' && apr_isxdigit(text[1]) && apr_isxdigit(text[2])) {
        const char hex[3] = { text[1], text[2], '\0' };
        *n = 3;
        return (char)strtol(hex, NULL, 16);
    }
    *n = 1;
    return *text;
}

/* Length of an API key's text at this place, percent-escapes in it or not; 0 when there is none. A cut or altered key
 * is one, too. */
static apr_size_t key_at(const char *text)
{
    static const char *const starts[] = { "mpx_live_", "mpx_test_" };
    apr_size_t at, step;
    int i, k;

    for (i = 0; i < 2; i++) {
        for (at = 0, k = 0; starts[i][k] && meant(text + at, &step) == starts[i][k]; k++) {
            at += step;
        }
        if (starts[i][k] == '\0') {
            char c;
            while ((c = meant(text + at, &step)) != '\0' && (apr_isalnum(c) || c == '_')) {
                at += step;
            }
            return at;
        }
    }
    return 0;
}

const char *core_redact(apr_pool_t *pool, const char *text)
{
    static const char mark[] = "REDACTED";
    const char *at, *name = NULL;
    char *out, *to;

    if (text == NULL || (strpbrk(text, "?&=%@") == NULL && strstr(text, "mpx_") == NULL)) {
        return text;
    }
    to = out = apr_palloc(pool, strlen(text) * 9 + 1); /* a one-byte value may grow to the mark */
    for (at = text; *at;) {
        apr_size_t n = key_at(at);
        if (n == 0 && *at == '=') {
            int secret = name && secret_name(name, (apr_size_t)(at - name));
            *to++ = *at++;
            name = at; /* a name ends here, and each byte is looked at once: at each '=' again would be its square */
            n = secret ? strcspn(at, "&;# ") : 0;
            if (n == 0) {
                continue;
            }
        }
        if (n) {
            memcpy(to, mark, sizeof mark - 1);
            to += sizeof mark - 1;
            at += n;
            continue;
        }
        if (*at == '?' || *at == '&' || *at == ';') {
            name = at + 1;
        }
        *to++ = *at++;
        if (to - out >= 3 && memcmp(to - 3, "://", 3) == 0) { /* user and password of an URL (RFC 3986, section 3.2.1) */
            n = strcspn(at, "/?#@ ");
            at += at[n] == '@' ? n : 0;
        }
    }
    *to = '\0';
    return out;
}
