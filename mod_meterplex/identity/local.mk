# identity: tenants, API keys, authentication and authorization. libmpx_identity.la is everything but the composition root: the module, the unit tests and
# meterplexctl link it alike, a program takes of it what it calls.
#
BUILT_SOURCES += mod_meterplex/identity/identity_sql.h
CLEANFILES += mod_meterplex/identity/identity_sql.h
EXTRA_DIST += mod_meterplex/identity/identity.sql

noinst_LTLIBRARIES += libmpx_identity.la
libmpx_identity_la_SOURCES = \
	mod_meterplex/identity/identity_auth.c \
	mod_meterplex/identity/identity_changes.c \
	mod_meterplex/identity/identity_commands.h \
	mod_meterplex/identity/identity_config.c \
	mod_meterplex/identity/identity_domain.c \
	mod_meterplex/identity/identity_domain.h \
	mod_meterplex/identity/identity_http_keys.c \
	mod_meterplex/identity/identity_http_tenants.c \
	mod_meterplex/identity/identity_key_commands.c \
	mod_meterplex/identity/identity_principals.c \
	mod_meterplex/identity/identity_private.h \
	mod_meterplex/identity/identity_purge.c \
	mod_meterplex/identity/identity_refresh.c \
	mod_meterplex/identity/identity_store.c \
	mod_meterplex/identity/identity_store.h \
	mod_meterplex/identity/identity_tenant_commands.c \
	mod_meterplex/identity/identity_view.c \
	mod_meterplex/identity/identity_view.h

module_LTLIBRARIES += mod_meterplex_identity.la
mod_meterplex_identity_la_SOURCES = mod_meterplex/identity/mod_meterplex_identity.c
mod_meterplex_identity_la_LDFLAGS = $(ROOM_LDFLAGS)
mod_meterplex_identity_la_LIBADD = libmpx_identity.la libmpx_lib.la $(SODIUM_LIBS)
