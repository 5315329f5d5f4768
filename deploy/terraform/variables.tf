variable "bucket_name" {
  type        = string
  default     = ""
  description = "The trail's bucket. One that exists if create_bucket is false; else its name, or empty for trailweave-ACCOUNT-... of its own."
}

variable "create_bucket" {
  type        = bool
  default     = true
  description = "Whether to make the bucket. For one that exists paste the outputs bucket_policy_to_add and notification_to_add."
}

variable "create_trail" {
  type        = bool
  default     = true
  description = "Whether to make the trail. false if the bucket is filled already, or from another account."
}

variable "trail_name" {
  type        = string
  default     = "trailweave"
  description = "Name of the trail."
}

variable "organization_id" {
  type        = string
  default     = ""
  description = "Id of the organisation (o-...), for a trail of all its accounts; empty for a trail of this account."
}

variable "data_events" {
  type        = string
  default     = "none"
  description = "Data events to record beside management events. They cost, and are many."
  validation {
    condition     = contains(["none", "s3", "lambda", "all"], var.data_events)
    error_message = "Use one of none, s3, lambda, all."
  }
}

variable "insight_events" {
  type        = bool
  default     = false
  description = "Whether to record Insights events (unusual rates of calls and errors)."
}

variable "create_key" {
  type        = bool
  default     = false
  description = "Whether to make a KMS key that the trail is encrypted with."
}

variable "key_arn" {
  type        = string
  default     = ""
  description = "A KMS key that exists, with which the trail is encrypted; empty for none. Paste the output key_policy_to_add into its policy."
}

variable "retention_days" {
  type        = number
  default     = 365
  description = "After how many days the bucket's objects are deleted."
  validation {
    condition     = var.retention_days >= 7
    error_message = "Keep objects for 7 days or more."
  }
}

variable "notification" {
  type        = string
  default     = "s3"
  description = "How the bucket announces objects. s3 straight to the queue; sns by a topic, for several readers; eventbridge by a rule."
  validation {
    condition     = contains(["s3", "sns", "eventbridge"], var.notification)
    error_message = "Use one of s3, sns, eventbridge."
  }
}

variable "visibility_timeout" {
  type        = number
  default     = 300
  description = "Seconds that a received message is hidden. trailweave extends it while it works."
}

variable "max_receives" {
  type        = number
  default     = 10
  description = "After how many receives a message goes to the dead-letter queue."
}

variable "identity" {
  type        = string
  default     = "role"
  description = "Whom the rights are given to. A role that the collector assumes, or an IAM user with an access key."
  validation {
    condition     = contains(["role", "user"], var.identity)
    error_message = "Use one of role, user."
  }
}

variable "trusted_principal" {
  type        = string
  default     = ""
  description = "Who may assume the role. Arn of a role or user, or an account id; empty for this account."
}

variable "external_id" {
  type        = string
  default     = ""
  description = "The external id that must be given to assume the role; empty for none."
}

variable "allow_replay" {
  type        = bool
  default     = false
  description = "Whether the collector may list the bucket, for trailweave replay and verify."
}

variable "allow_redrive" {
  type        = bool
  default     = false
  description = "Whether the collector may bring messages back from the dead-letter queue, for trailweave redrive."
}

variable "output_bucket" {
  type        = string
  default     = ""
  description = "The bucket of the output, if that is on S3; empty for a local folder."
}

variable "output_prefix" {
  type        = string
  default     = "trailweave"
  description = "The output's prefix in its bucket."
}

variable "allow_compact" {
  type        = bool
  default     = false
  description = "Whether the collector may delete objects of the output, for trailweave compact."
}
