// flatstep: the step between a gradient and the next parameters. Includes all of it.
#pragma once

#include <flatstep/multi_layer_updater.hpp>
#include <flatstep/updaters/own_updater.hpp>
#include <flatstep/version.hpp>
