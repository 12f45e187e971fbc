// flatstep: the step between a gradient and the next parameters. Includes all of it.
#pragma once

#include <flatstep/multi_layer_updater.hpp>
#include <flatstep/own_updater.hpp>
#include <flatstep/version.hpp>
