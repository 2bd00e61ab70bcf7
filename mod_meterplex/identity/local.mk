# identity: tenants, API keys, authentication and authorization. libmpx_identity.la is everything but the composition root: the module, the unit tests and
# meterplexctl link it alike, a program takes of it what it calls.
#
# SQL in identity.sql becomes identity_sql.h; when the file exists:
#   BUILT_SOURCES += mod_meterplex/identity/identity_sql.h
#   CLEANFILES += mod_meterplex/identity/identity_sql.h
#   EXTRA_DIST += mod_meterplex/identity/identity.sql
noinst_LTLIBRARIES += libmpx_identity.la
libmpx_identity_la_SOURCES =

if ROOM_IDENTITY
module_LTLIBRARIES += mod_meterplex_identity.la
mod_meterplex_identity_la_SOURCES = mod_meterplex/identity/mod_meterplex_identity.c
mod_meterplex_identity_la_LDFLAGS = $(ROOM_LDFLAGS)
mod_meterplex_identity_la_LIBADD = libmpx_identity.la libmpx_lib.la $(SODIUM_LIBS)
endif
