# The layers of farfield/: a room may use only the rooms in its row (transitive use included here on
# purpose: the row is complete). farfield_room() refuses any other edge and tests/domain/layers checks
# the #includes against the same table. docs/explanation/house.md explains it.

set(FARFIELD_ROOMS core math model codec parallel net store operators technique plot io stream pipeline services)

set(FARFIELD_MAY_USE_core)
set(FARFIELD_MAY_USE_math core)
set(FARFIELD_MAY_USE_model core)
set(FARFIELD_MAY_USE_codec core)
set(FARFIELD_MAY_USE_parallel core)
set(FARFIELD_MAY_USE_net core)
set(FARFIELD_MAY_USE_store core)
set(FARFIELD_MAY_USE_operators core math model parallel)
set(FARFIELD_MAY_USE_technique core model parallel)
set(FARFIELD_MAY_USE_plot core model codec)
set(FARFIELD_MAY_USE_techniques core math model operators parallel technique)
set(FARFIELD_MAY_USE_io core math model codec)
set(FARFIELD_MAY_USE_stream core model codec net)
set(FARFIELD_MAY_USE_pipeline core math model codec parallel net operators technique plot io stream)

# The services are rooms of their own, in this order: an earlier one may be used by a later one.
set(FARFIELD_MAY_USE_services/auth core codec net store)
set(FARFIELD_MAY_USE_services/watch core codec store)
set(FARFIELD_MAY_USE_services/transfer core codec net store services/auth services/watch)
set(FARFIELD_MAY_USE_services/compute core codec net store services/auth)
set(FARFIELD_MAY_USE_services/flow core codec net store services/auth services/transfer services/compute)
