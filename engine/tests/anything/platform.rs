//! A platform that carries sizes out, as Kubernetes does: objects that have a uid,
//! a version that rises with every change, and pods that follow the size.
//!
//! Comes in: writes with a precondition, and whatever else befalls objects. Goes
//! out: what it says of each. Keeps its preconditions to the letter, and panics
//! where one grant is written twice or an older one over a newer (I1).

use std::collections::BTreeMap;

use starling_engine::node::platform::{Failure, Observation, Patch, Scale, Unscheduled};
use starling_engine::policy::Target;
use starling_engine::unit::Stamp;

/// See the module.
pub struct Platform {
    objects: BTreeMap<Target, Object>,
    /// Of all objects, those included that are gone.
    changes: u64,
    /// Pods are there as soon as a size is set, and gone as soon.
    prompt: bool,
    /// Every write that it took.
    pub written: Vec<Patch>,
}

struct Object {
    scale: Scale,
    /// The grant that the size is from; `None` where somebody else set it.
    granted: Option<Stamp>,
    /// The newest grant that was ever written to it.
    newest: Stamp,
}

impl Platform {
    pub fn new(prompt: bool) -> Platform {
        Platform {
            objects: BTreeMap::new(),
            changes: 0,
            prompt,
            written: Vec::new(),
        }
    }

    /// A new object with all its pods, in place of any other of that name.
    pub fn make(&mut self, target: &Target, replicas: u32) {
        self.changes += 1;
        let scale = Scale {
            uid: format!("u{}", self.changes),
            resource_version: self.changes.to_string(),
            replicas,
            running: replicas,
            selector: format!("app={}", target.name),
            ..Scale::default()
        };
        let object = Object {
            scale,
            granted: None,
            newest: Stamp::default(),
        };
        self.objects.insert(target.clone(), object);
    }

    pub fn delete(&mut self, target: &Target) {
        self.objects.remove(target);
    }

    pub fn scale(&self, target: &Target) -> Option<&Scale> {
        self.objects.get(target).map(|object| &object.scale)
    }

    /// What a watch of it says now.
    pub fn says(&self, target: &Target) -> Observation {
        match self.scale(target) {
            Some(scale) => Observation::Scale(scale.clone()),
            None => Observation::Gone(format!("{target} not found")),
        }
    }

    /// Something of an object changes that isn't its size.
    pub fn change(&mut self, target: &Target, change: impl FnOnce(&mut Scale)) {
        if let Some(object) = self.objects.get_mut(target) {
            self.changes += 1;
            change(&mut object.scale);
            object.scale.resource_version = self.changes.to_string();
        }
    }

    /// Somebody sets a size.
    pub fn set(&mut self, target: &Target, replicas: u32) {
        let prompt = self.prompt;
        self.change(target, |scale| {
            scale.replicas = replicas;
            if prompt {
                scale.running = replicas;
            }
        });
        if let Some(object) = self.objects.get_mut(target) {
            object.granted = None;
        }
    }

    /// A granted size arrives.
    pub fn write(&mut self, patch: &Patch) -> Result<Scale, Failure> {
        let Some(object) = self.objects.get(&patch.target) else {
            return Err(Failure::Gone(format!("{} not found", patch.target)));
        };
        if object.scale.resource_version != patch.resource_version {
            return Err(Failure::Conflict);
        }
        assert_eq!(object.scale.uid, patch.uid, "a version is of one object");
        assert_ne!(
            object.granted,
            Some(patch.stamp),
            "written twice: {patch:?}"
        );
        assert!(object.newest <= patch.stamp, "I1: an older one: {patch:?}");
        self.set(&patch.target, patch.to);
        if let Some(object) = self.objects.get_mut(&patch.target) {
            (object.granted, object.newest) = (Some(patch.stamp), patch.stamp);
        }
        self.written.push(patch.clone());
        // An answer to a write says nothing of what keeps pods from running.
        let scale = self.scale(&patch.target).cloned().unwrap_or_default();
        Ok(Scale {
            unscheduled: Unscheduled::default(),
            blocked: None,
            ..scale
        })
    }

    /// Pods follow the sizes, but for those that can't run.
    pub fn settle(&mut self) {
        for object in self.objects.values_mut() {
            let scale = &mut object.scale;
            let running = match scale.blocked {
                Some(_) => scale.running.min(scale.replicas),
                None => scale.replicas,
            };
            if scale.running != running {
                self.changes += 1;
                scale.running = running;
                scale.resource_version = self.changes.to_string();
            }
        }
    }
}
