/* mpx_clf.c: see mpx_clf.h. Formats: mod_log_config's documentation, "Common Log Format" and "Combined Log Format";
 * escapes: ap_escape_logitem (\" \\ \b \n \r \t \v \xhh). */
#include "mpx_clf.h"

#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "mpx_json.h"
#include "mpx_time.h"

#define NO_TIME "the time is not of the form [17/May/2015:10:05:03 +0000]"

/* What is left of the line. */
typedef struct cursor {
    const char *at, *end;
} cursor_t;

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : apr_isxdigit(c) ? (c | 0x20) - 'a' + 10
                                                            : -1;
}

/* One escape at text. @return its length, 0 when it is none; *c the character it stands for */
static apr_size_t read_escape(const char *text, apr_size_t left, char *c)
{
    static const char names[] = "\"\\bnrtv", values[] = "\"\\\b\n\r\t\v";
    const char *found;

    if (left < 2 || text[0] != '\\') {
        return 0;
    }
    found = text[1] ? strchr(names, text[1]) : NULL;
    if (found) {
        *c = values[found - names];
        return 2;
    }
    if (text[1] == 'x' && left >= 4 && hex_value(text[2]) >= 0 && hex_value(text[3]) >= 0) {
        *c = (char)((unsigned)hex_value(text[2]) << 4 | (unsigned)hex_value(text[3]));
        return *c ? 4 : 0; /* U+0000 keeps its \x00: no text may hold it */
    }
    return 0;
}

/* Bytes that are not UTF-8 become \xhh again, as httpd itself would have written them. */
static const char *as_utf8(apr_pool_t *pool, const char *text, apr_size_t len)
{
    static const char hex[] = "0123456789abcdef";
    char *out, *to;
    apr_size_t i, n;

    if (mpx_json_utf8_valid(text, len)) {
        return apr_pstrmemdup(pool, text, len);
    }
    out = to = apr_palloc(pool, len * 4 + 1);
    for (i = 0; i < len; i += n) {
        for (n = 4; n > 0 && !(i + n <= len && mpx_json_utf8_valid(text + i, n)); n--) {
        }
        if (n > 0) {
            /* the shortest valid piece is one character */
            for (n = 1; !mpx_json_utf8_valid(text + i, n); n++) {
            }
            memcpy(to, text + i, n);
            to += n;
            continue;
        }
        *to++ = '\\';
        *to++ = 'x';
        *to++ = hex[(unsigned char)text[i] >> 4];
        *to++ = hex[(unsigned char)text[i] & 15];
        n = 1;
    }
    *to = '\0';
    return out;
}

static const char *unescape(apr_pool_t *pool, const char *text, apr_size_t len)
{
    char *out = apr_palloc(pool, len + 1), *to = out;
    apr_size_t i = 0;

    while (i < len) {
        apr_size_t n = read_escape(text + i, len - i, to);
        if (n == 0) {
            *to = text[i];
            n = 1;
        }
        to++;
        i += n;
    }
    return as_utf8(pool, out, (apr_size_t)(to - out));
}

static const char *null_for_dash(const char *text)
{
    return text && strcmp(text, "-") == 0 ? NULL : text;
}

/* A field up to the next space. @return NULL when the line is over or the field empty */
static const char *word(apr_pool_t *pool, cursor_t *c)
{
    const char *start = c->at, *space = memchr(c->at, ' ', (apr_size_t)(c->end - c->at));
    const char *stop = space ? space : c->end;

    if (stop == start) {
        return NULL;
    }
    c->at = space ? space + 1 : c->end;
    return unescape(pool, start, (apr_size_t)(stop - start));
}

/* The next quote that is not escaped, or end. */
static const char *find_quote(const char *at, const char *end)
{
    while (at < end && *at != '"') {
        at += at[0] == '\\' && at + 1 < end ? 2 : 1;
    }
    return at;
}

/* A quoted field and the space after it. @param cut set when the line ends before the closing quote */
static const char *quoted(apr_pool_t *pool, cursor_t *c, int *cut)
{
    const char *start = c->at + 1, *at;

    if (c->at == c->end || *c->at != '"') {
        return NULL;
    }
    at = find_quote(start, c->end);
    *cut = at == c->end;
    c->at = at + !*cut;
    if (c->at < c->end && *c->at == ' ') {
        c->at++;
    }
    else if (c->at < c->end) {
        return NULL; /* something sticks to the closing quote */
    }
    return unescape(pool, start, (apr_size_t)(at - start));
}

static int two_digits(const char *text)
{
    return apr_isdigit(text[0]) && apr_isdigit(text[1]) ? (text[0] - '0') * 10 + text[1] - '0' : -1;
}

/* "[17/May/2015:10:05:03 +0000] ", by way of RFC 3339. */
static int read_time(cursor_t *c, apr_time_t *out)
{
    static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    const char *t = c->at + 1;
    char text[32];
    int month;

    if (c->end - c->at < 29 || c->at[0] != '[' || t[2] != '/' || t[6] != '/' || t[11] != ':' || t[14] != ':'
        || t[17] != ':' || t[20] != ' ' || t[26] != ']' || t[27] != ' ' || two_digits(t) < 0) {
        return 0;
    }
    for (month = 0; month < 12 && memcmp(months[month], t + 3, 3) != 0; month++) {
    }
    if (month == 12) {
        return 0;
    }
    apr_snprintf(text, sizeof text, "%.4s-%02d-%.2sT%.8s%.3s:%.2s", t + 7, month + 1, t, t + 12, t + 21, t + 24);
    if (!mpx_time_parse(text, strlen(text), out)) {
        return 0;
    }
    c->at += 29;
    return 1;
}

/* The user's name and the time. httpd writes a space within a name as it is, so the name ends where a time begins.
 * A quote in it is escaped: a bare one is the request's, or the "" that stands for an empty name.
 * @return NULL, or what is wrong */
static const char *read_user_and_time(apr_pool_t *pool, cursor_t *c, mpx_clf_line_t *out)
{
    const char *start = c->at, *quote = find_quote(start, c->end), *space;

    if (c->end - c->at >= 3 && memcmp(c->at, "\"\" ", 3) == 0) {
        c->at += 3;
        out->user = "";
        return read_time(c, &out->time) ? NULL : NO_TIME;
    }
    for (space = start; (space = memchr(space, ' ', (apr_size_t)(quote - space))) != NULL; space++) {
        cursor_t after = { space + 1, c->end };
        if (space > start && read_time(&after, &out->time)) {
            *c = after;
            out->user = null_for_dash(unescape(pool, start, (apr_size_t)(space - start)));
            return NULL;
        }
    }
    return quote == start || *start == ' ' ? "the user is missing" : NO_TIME;
}

/* METHOD SP target SP HTTP/x: anything else stands in request alone. */
static void split_request(apr_pool_t *pool, mpx_clf_line_t *line)
{
    const char *first = strchr(line->request, ' '), *last = first ? strrchr(line->request, ' ') : NULL, *c;

    if (first == NULL || first == line->request || last - first < 2 || strncmp(last + 1, "HTTP/", 5) != 0) {
        return;
    }
    for (c = line->request; c < first; c++) {
        if (!apr_isalnum(*c) && strchr("!#$%&'*+-.^_`|~", *c) == NULL) {
            return; /* no token (RFC 9110 section 9.1) */
        }
    }
    line->method = apr_pstrmemdup(pool, line->request, (apr_size_t)(first - line->request));
    line->path = apr_pstrmemdup(pool, first + 1, (apr_size_t)(last - first - 1));
    line->protocol = apr_pstrdup(pool, last + 1);
}

static int read_status(apr_pool_t *pool, cursor_t *c, int *status)
{
    const char *text = word(pool, c);
    if (text == NULL || strlen(text) != 3 || strspn(text, "0123456789") != 3) {
        return 0;
    }
    *status = (int)strtol(text, NULL, 10);
    return 1;
}

static int read_bytes(apr_pool_t *pool, cursor_t *c, apr_int64_t *bytes)
{
    const char *text = word(pool, c);
    if (text == NULL) {
        return 0;
    }
    if (strcmp(text, "-") == 0) {
        *bytes = 0;
        return 1;
    }
    *bytes = apr_atoi64(text);
    return strspn(text, "0123456789") == strlen(text) && strlen(text) <= 18;
}

static const char *read_combined_part(apr_pool_t *pool, cursor_t *c, mpx_clf_line_t *out)
{
    const char *text = quoted(pool, c, &out->cut);

    if (text == NULL) {
        return "the referer is missing";
    }
    out->referer = null_for_dash(text);
    if (out->cut) {
        return NULL;
    }
    text = quoted(pool, c, &out->cut);
    if (text == NULL) {
        return "the user agent is missing";
    }
    out->user_agent = null_for_dash(text);
    return NULL;
}

const char *mpx_clf_parse(apr_pool_t *pool, mpx_clf_format_e format, const char *line, apr_size_t len,
                          mpx_clf_line_t *out)
{
    cursor_t c = { line, line + len };
    const char *wrong = NULL;
    int cut = 0;

    memset(out, 0, sizeof *out);
    if (len && line[len - 1] == '\r') {
        c.end--;
    }
    if (format == MPX_CLF_VHOST_COMBINED && (out->vhost = word(pool, &c)) == NULL) {
        return "the virtual host is missing";
    }
    if ((out->client = word(pool, &c)) == NULL) {
        return "the client address is missing";
    }
    if (word(pool, &c) == NULL) {
        return "the user is missing";
    }
    if ((wrong = read_user_and_time(pool, &c, out)) != NULL) {
        return wrong;
    }
    if ((out->request = quoted(pool, &c, &cut)) == NULL || cut) {
        return "the request line is missing or has no closing quote";
    }
    split_request(pool, out);
    if (!read_status(pool, &c, &out->status)) {
        return "the status is not a number of three digits";
    }
    if (!read_bytes(pool, &c, &out->bytes)) {
        return "the number of bytes is neither a number nor \"-\"";
    }
    if (format != MPX_CLF_COMMON) {
        wrong = read_combined_part(pool, &c, out);
    }
    if (wrong == NULL && c.at < c.end) {
        wrong = "there is more on the line than the format has";
    }
    return wrong;
}
