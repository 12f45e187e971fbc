// The list of updaters: one line each. All tables, kernels and names are made from it.
#pragma once

#include <flatstep/updaters/ad_ema_mix.hpp>
#include <flatstep/updaters/ada_belief.hpp>
#include <flatstep/updaters/ada_delta.hpp>
#include <flatstep/updaters/ada_delta_with_rate.hpp>
#include <flatstep/updaters/ada_grad.hpp>
#include <flatstep/updaters/ada_max.hpp>
#include <flatstep/updaters/adam.hpp>
#include <flatstep/updaters/ams_grad.hpp>
#include <flatstep/updaters/corrected_ams_grad.hpp>
#include <flatstep/updaters/lamb.hpp>
#include <flatstep/updaters/lars.hpp>
#include <flatstep/updaters/lion.hpp>
#include <flatstep/updaters/momentum.hpp>
#include <flatstep/updaters/n_adam.hpp>
#include <flatstep/updaters/nadam.hpp>
#include <flatstep/updaters/nesterovs.hpp>
#include <flatstep/updaters/no_op.hpp>
#include <flatstep/updaters/r_adam.hpp>
#include <flatstep/updaters/rms_prop.hpp>
#include <flatstep/updaters/root_ada_grad.hpp>
#include <flatstep/updaters/root_adam.hpp>
#include <flatstep/updaters/root_rms_prop.hpp>
#include <flatstep/updaters/schedule_free_adam_w.hpp>
#include <flatstep/updaters/sgd.hpp>
#include <flatstep/updaters/yogi.hpp>

namespace flatstep {

template <class... U>
struct UpdaterList {};

/// The place of U in a list that has it.
template <class U, class... Others>
constexpr std::size_t place_of_updater(UpdaterList<Others...>) {
  const bool is_here[] = {__is_same(U, Others)...};
  std::size_t place = 0;
  while (!is_here[place]) ++place;
  return place;
}

using Updaters = UpdaterList<  //
    NoOp,                      //
    Sgd,                       //
    Nesterovs,                 //
    AdaGrad,                   //
    RmsProp,                   //
    AdaDelta,                  //
    Adam,                      //
    AMSGrad,                   //
    AdaMax,                    //
    Nadam,                     //
    AdaBelief, RootAdam, NAdam, CorrectedAMSGrad, RAdam, Yogi, Lion, AdEMAMix, Momentum,
    AdaDeltaWithRate, RootAdaGrad, RootRmsProp, CenteredRmsProp, MomentumRmsProp,
    CenteredMomentumRmsProp, Lamb, Lars, ScheduleFreeAdamW>;

}  // namespace flatstep
