/* mpx_json: a strict reader of JSON (RFC 8259, I-JSON's rules on text) and a writer.
 *
 * Why not jansson: a quantity must never pass through a double, and jansson keeps no number's text; it
 * accepts 500 levels and a trailing NUL (tests use it as the independent reference instead).
 * The reader keeps every number as it was written, and refuses duplicate member names, invalid UTF-8, lone
 * surrogates, U+0000 anywhere, a byte order mark and whatever exceeds the limits. No recursion on input
 * depth beyond limits->depth. Memory comes from the pool. Thread-safe: no state.
 */
#ifndef MPX_JSON_H
#define MPX_JSON_H

#include <apr_pools.h>

typedef enum mpx_json_type {
    MPX_JSON_NULL, MPX_JSON_FALSE, MPX_JSON_TRUE, MPX_JSON_NUMBER, MPX_JSON_STRING, MPX_JSON_ARRAY, MPX_JSON_OBJECT
} mpx_json_type_e;

typedef struct mpx_json {
    mpx_json_type_e type;
    unsigned name_len; /* bytes of name */
    const char *text;  /* STRING: decoded UTF-8, NUL-terminated; others: the value's text as it stood in the
                        * input (points into the input, not NUL-terminated) */
    apr_size_t len;    /* bytes of text */
    const char *name;  /* decoded member name, NUL-terminated; NULL unless inside an object */
    struct mpx_json *first; /* first element or member, in input order */
    struct mpx_json *next;  /* next sibling */
    apr_size_t count;       /* elements or members */
} mpx_json_t;

typedef struct mpx_json_limits {
    unsigned depth;         /* nesting of arrays and objects; 32 by default */
    apr_size_t string;      /* bytes of one decoded string or name; 65536 by default */
    apr_size_t values;      /* values in one text: each costs a node, so that a body of "0,0,..." would grow to 28 times its
                             * size in memory; 524288 by default */
} mpx_json_limits_t;

#define MPX_JSON_LIMITS_DEFAULT { 32, 65536, 524288 }

typedef struct mpx_json_error {
    apr_size_t offset;       /* byte where it was noticed; of an object of more than 16 members, a duplicate is
                              * noticed at its end */
    const char *message;     /* an English phrase without the input's text: "duplicate member name" */
} mpx_json_error_t;

/* Read one JSON text, white space around it allowed, nothing else.
 * @param text   len bytes; must live as long as the result: numbers and raw spans point into it
 * @param out    the root @param error set on failure
 * @return APR_SUCCESS or APR_EINVAL */
apr_status_t mpx_json_parse(apr_pool_t *pool, const char *text, apr_size_t len,
                            const mpx_json_limits_t *limits, mpx_json_t **out, mpx_json_error_t *error);

/* The member of that name, or NULL. Linear: objects are small. */
const mpx_json_t *mpx_json_member(const mpx_json_t *object, const char *name);

/* RFC 6901 escaping of one reference token ("~" -> "~0", "/" -> "~1"). */
const char *mpx_json_pointer_token(apr_pool_t *pool, const char *name);

/* Is len bytes of text valid UTF-8 (RFC 3629) without U+0000? */
int mpx_json_utf8_valid(const char *text, apr_size_t len);

/* --- Writer: one growing buffer in a pool; commas and colons are put by the writer. Calls that make no JSON
 * (a key in an array, two roots, an end too many) are errors of the program and end in abort(). --------- */

typedef struct mpx_jsonw mpx_jsonw_t;

mpx_jsonw_t *mpx_jsonw_make(apr_pool_t *pool);
void mpx_jsonw_object(mpx_jsonw_t *w);                       /* { as a value */
void mpx_jsonw_array(mpx_jsonw_t *w);                        /* [ as a value */
void mpx_jsonw_end(mpx_jsonw_t *w);                          /* closes the innermost */
void mpx_jsonw_key(mpx_jsonw_t *w, const char *name);
void mpx_jsonw_string(mpx_jsonw_t *w, const char *value);    /* NULL writes null. Escapes as RFC 8259 asks;
                                                              * invalid UTF-8 becomes U+FFFD */
void mpx_jsonw_stringn(mpx_jsonw_t *w, const char *value, apr_size_t len);
void mpx_jsonw_int(mpx_jsonw_t *w, apr_int64_t value);
void mpx_jsonw_bool(mpx_jsonw_t *w, int value);
void mpx_jsonw_null(mpx_jsonw_t *w);
void mpx_jsonw_raw(mpx_jsonw_t *w, const char *json, apr_size_t len); /* a value that is JSON already */
/* name and value in one call */
void mpx_jsonw_member_string(mpx_jsonw_t *w, const char *name, const char *value);
void mpx_jsonw_member_int(mpx_jsonw_t *w, const char *name, apr_int64_t value);
void mpx_jsonw_member_bool(mpx_jsonw_t *w, const char *name, int value);
void mpx_jsonw_member_null(mpx_jsonw_t *w, const char *name);
void mpx_jsonw_member_raw(mpx_jsonw_t *w, const char *name, const char *json, apr_size_t len);
/* The text so far, NUL-terminated. @param len set when not NULL. Valid until the next write. */
const char *mpx_jsonw_text(mpx_jsonw_t *w, apr_size_t *len);
/* The same with the end of a line, for those who read with curl; nothing may be written after it. */
const char *mpx_jsonw_line(mpx_jsonw_t *w, apr_size_t *len);

#endif
