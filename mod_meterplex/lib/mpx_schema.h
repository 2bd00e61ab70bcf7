/* mpx_schema: table-driven reading of a JSON object into a C struct; every bad field is reported at once,
 * each by JSON pointer (RFC 6901) and a machine code. Pure.
 *
 *   typedef struct { apr_uint64_t present; const char *name; const char *slug; } tenant_body_t;
 *   static const mpx_field_t tenant_fields[] = {
 *       { "name", MPX_FIELD_STRING, MPX_FIELD_REQUIRED, 1, 200, NULL, NULL, NULL, offsetof(tenant_body_t, name) },
 *       ... { NULL } };
 *
 * The target struct begins with `apr_uint64_t present`, in which bit i says that the table's field i was
 * given (also as null): PATCH needs to tell "absent" from "null". Fields that are absent or null leave the
 * target as it was, so the caller presets defaults. A table has at most 64 fields. min and max both 0: no bound.
 *
 * Codes: required, unknown_field, type (also null where the field is not nullable), length (of a string, an
 * array, an object), range, choice, format (a time or a decimal that is none), and what a check returns.
 */
#ifndef MPX_SCHEMA_H
#define MPX_SCHEMA_H

#include <stddef.h>

#include <apr_tables.h>
#include "mpx_json.h"
#include "mpx_time.h"

typedef enum mpx_field_type {
    MPX_FIELD_STRING,  /* const char *; min..max characters; check; choices */
    MPX_FIELD_INT,     /* apr_int64_t; a JSON integer, without fraction or exponent, in min..max */
    MPX_FIELD_BOOL,    /* int */
    MPX_FIELD_TIME,    /* apr_time_t; an RFC 3339 string */
    MPX_FIELD_DECIMAL, /* const char *; a JSON string of plain decimal text, kept canonical; its value in min..max */
    MPX_FIELD_OBJECT,  /* fields == NULL: const mpx_json_t *, any object, min..max bytes of text;
                        * else an embedded struct of that table, at offset */
    MPX_FIELD_STRINGS, /* apr_array_header_t * of const char *; min..max items; check and choices are each item's */
    MPX_FIELD_STRING_MAP /* apr_table_t *; an object whose values are strings; min..max members; check is each name's.
                          * Those that are not valid are left out, so that the caller can judge the others.
                          * Names that differ in case only are entries of their own: read it with apr_table_do() */
} mpx_field_type_e;

#define MPX_FIELD_REQUIRED 1u
#define MPX_FIELD_NULLABLE 2u /* null is accepted and leaves the target as it was */

/* A further rule on a string (NUL-terminated, len bytes). @return NULL if it holds, else the machine code, for
 * instance "pattern", and *detail an English sentence (static) */
typedef const char *(mpx_field_check_fn)(const char *text, apr_size_t len, const char **detail);

typedef struct mpx_field {
    const char *name;            /* NULL ends the table */
    mpx_field_type_e type;
    unsigned flags;
    apr_int64_t min, max;
    mpx_field_check_fn *check;   /* or NULL */
    const char *const *choices;  /* NULL-terminated, or NULL */
    const struct mpx_field *fields; /* MPX_FIELD_OBJECT with a table of its own */
    apr_size_t offset;           /* into the struct of this table */
} mpx_field_t;

typedef struct mpx_field_error {
    const char *pointer; /* "/rate_limit/per" */
    const char *code;    /* see above */
    const char *detail;  /* an English sentence, without the input's text */
} mpx_field_error_t;

#define MPX_FIELD_ERRORS_MAX 100 /* reported at once; the last one's detail says how many more there are */

/* Read an object. @param body must be an object, else one error at pointer prefix
 * @param prefix  pointer of body itself, "" at the root
 * @param target  the struct, preset by the caller
 * @param errors  array of mpx_field_error_t, appended to, up to MPX_FIELD_ERRORS_MAX of them
 * @return number of errors found */
int mpx_schema_read(apr_pool_t *pool, const mpx_json_t *body, const char *prefix, const mpx_field_t *fields,
                    void *target, apr_array_header_t *errors);

/* Appends one. The three texts are kept, not copied. */
void mpx_field_error_add(apr_array_header_t *errors, const char *pointer, const char *code, const char *detail);
/* Appends one unless there are MPX_FIELD_ERRORS_MAX already, in which case only *dropped is counted up. */
void mpx_field_error_report(apr_array_header_t *errors, int *dropped, const char *pointer, const char *code,
                            const char *detail);
/* Says in the last error's detail that dropped more were found. Nothing when dropped is 0. */
void mpx_field_errors_end(apr_pool_t *pool, apr_array_header_t *errors, int dropped);

/* Checks that several rooms use. */
mpx_field_check_fn mpx_check_slug;   /* [a-z0-9] then [a-z0-9_-], ends alphanumeric */
mpx_field_check_fn mpx_check_scope;  /* RFC 6749 scope-token narrowed to [a-z0-9_.:*-], one ':' at least, none at an end */
mpx_field_check_fn mpx_check_text;   /* no control characters (U+0000..1F, U+007F..9F) but tab and newline */
mpx_field_check_fn mpx_check_line;   /* no control characters at all */
mpx_field_check_fn mpx_check_cidr;   /* address or CIDR block, IPv4 or IPv6 */

#endif
