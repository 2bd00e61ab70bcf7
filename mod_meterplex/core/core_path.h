/* core_path.h: paths, query strings and entity tags as text: the pure half of the router. No httpd. */
#ifndef CORE_PATH_H
#define CORE_PATH_H

#include <apr_tables.h>

#include "../lib/mpx_uuid.h"

/* Does a decoded path match a pattern of segments ("/v1/tenants/{tenant}/api-keys")? Segments are compared whole; a
 * parameter takes one segment that is not empty; a trailing slash is another path.
 * @param params  set to the parameters when not NULL */
int core_path_matches(const char *pattern, const char *path, apr_table_t *params);

/* Read a query string: percent-decoding, '+' is a space.
 * @return NULL, or an English sentence saying what is wrong (malformed escape, bad UTF-8, U+0000, repeated name) */
const char *core_query_parse(apr_pool_t *pool, const char *query, apr_table_t *out);

/* Is a tag in a list of entity tags ("*" matches any)? @param weak 1: W/ prefixes are ignored (If-None-Match, RFC 9110
 * section 8.8.3.2); 0: a weak tag matches nothing (If-Match) */
int core_etag_listed(const char *list, const char *tag, int weak);

#define CORE_ETAG_TEXT 96
/* The strong entity tag of a row's version, "UUID.VERSION"; the router adds ".DIGEST" of the representation, which may show
 * what no version counts (a time of last use). @param out CORE_ETAG_TEXT bytes @return out */
char *core_etag_text(const mpx_uuid_t *id, apr_int64_t version, char *out);

/* Replace what looks like an API key, and the values of parameters that are named like secrets, by "REDACTED". */
const char *core_redact(apr_pool_t *pool, const char *text);

#endif
