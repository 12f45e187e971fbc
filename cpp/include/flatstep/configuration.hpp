// Configuration: what the user asks for, and what each slot gets. All of the room.
#pragma once

#include <flatstep/configuration/choices.hpp>
#include <flatstep/configuration/network_configuration.hpp>
#include <flatstep/configuration/registry.hpp>
#include <flatstep/configuration/resolve.hpp>
#include <flatstep/configuration/settings.hpp>
#include <flatstep/configuration/updater_configuration.hpp>
#include <flatstep/configuration/validate.hpp>
