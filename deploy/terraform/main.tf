# The same as deploy/cloudformation/trailweave.yaml: a trail in a bucket that announces its objects in a queue, and a
# collector that may read them and nothing else.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  trail_arn = "arn:${local.partition}:cloudtrail:${data.aws_region.current.name}:${local.account}:trail/${var.trail_name}"

  bucket     = var.create_bucket ? aws_s3_bucket.trail[0].id : var.bucket_name
  bucket_arn = "arn:${local.partition}:s3:::${local.bucket}"
  key_arn    = var.create_key ? aws_kms_key.trail[0].arn : var.key_arn
  has_key    = var.create_key || var.key_arn != ""
  output_arn = "arn:${local.partition}:s3:::${var.output_bucket}"
  announcer  = { s3 = "s3.amazonaws.com", sns = "sns.amazonaws.com", eventbridge = "events.amazonaws.com" }[var.notification]
  who = (
    var.identity == "role" ? "role_arn = \"${aws_iam_role.collector[0].arn}\"" :
    "# with an access key of the user ${aws_iam_user.collector[0].name}"
  )
}

resource "aws_kms_key" "trail" {
  count               = var.create_key ? 1 : 0
  description         = "The trail's log files"
  enable_key_rotation = true
  policy              = data.aws_iam_policy_document.key.json
}

data "aws_iam_policy_document" "key" {
  statement {
    sid       = "Administration"
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account}:root"]
    }
  }
  statement {
    sid       = "CloudTrailEncrypts"
    actions   = ["kms:GenerateDataKey*", "kms:DescribeKey"]
    resources = ["*"]
    principals {
      type        = "Service"
      identifiers = ["cloudtrail.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = [local.trail_arn]
    }
  }
}

resource "aws_s3_bucket" "trail" {
  count         = var.create_bucket ? 1 : 0
  bucket        = var.bucket_name != "" ? var.bucket_name : null
  bucket_prefix = var.bucket_name == "" ? "trailweave-${local.account}-" : null
  force_destroy = false
}

resource "aws_s3_bucket_public_access_block" "trail" {
  count                   = var.create_bucket ? 1 : 0
  bucket                  = aws_s3_bucket.trail[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "trail" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.trail[0].id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "trail" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.trail[0].id
  rule {
    id     = "Retention"
    status = "Enabled"
    filter {}
    expiration {
      days = var.retention_days
    }
  }
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "CloudTrailLooks"
    actions   = ["s3:GetBucketAcl"]
    resources = [local.bucket_arn]
    principals {
      type        = "Service"
      identifiers = ["cloudtrail.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = [local.trail_arn]
    }
  }
  statement {
    sid     = "CloudTrailWrites"
    actions = ["s3:PutObject"]
    resources = concat(
      ["${local.bucket_arn}/AWSLogs/${local.account}/*"],
      var.organization_id != "" ? ["${local.bucket_arn}/AWSLogs/${var.organization_id}/*"] : [],
    )
    principals {
      type        = "Service"
      identifiers = ["cloudtrail.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = [local.trail_arn]
    }
    condition {
      test     = "StringEquals"
      variable = "s3:x-amz-acl"
      values   = ["bucket-owner-full-control"]
    }
  }
  statement {
    sid       = "OnlyByTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.bucket_arn, "${local.bucket_arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "trail" {
  count  = var.create_bucket ? 1 : 0
  bucket = aws_s3_bucket.trail[0].id
  policy = data.aws_iam_policy_document.bucket.json
}

resource "aws_sqs_queue" "dead" {
  name_prefix               = "trailweave-dead-"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "trail" {
  name_prefix                = "trailweave-"
  visibility_timeout_seconds = var.visibility_timeout
  message_retention_seconds  = 1209600
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = var.max_receives
  })
}

data "aws_iam_policy_document" "queue" {
  statement {
    sid       = "Announcements"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.trail.arn]
    principals {
      type        = "Service"
      identifiers = [local.announcer]
    }
    dynamic "condition" {
      for_each = var.notification == "s3" ? [1] : []
      content {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values = [
        var.notification == "s3" ? local.bucket_arn :
        var.notification == "sns" ? aws_sns_topic.trail[0].arn : aws_cloudwatch_event_rule.trail[0].arn
      ]
    }
  }
}

resource "aws_sqs_queue_policy" "trail" {
  queue_url = aws_sqs_queue.trail.id
  policy    = data.aws_iam_policy_document.queue.json
}

resource "aws_sns_topic" "trail" {
  count       = var.notification == "sns" ? 1 : 0
  name_prefix = "trailweave-"
}

data "aws_iam_policy_document" "topic" {
  count = var.notification == "sns" ? 1 : 0
  statement {
    sid       = "Announcements"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.trail[0].arn]
    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = [local.bucket_arn]
    }
  }
}

resource "aws_sns_topic_policy" "trail" {
  count  = var.notification == "sns" ? 1 : 0
  arn    = aws_sns_topic.trail[0].arn
  policy = data.aws_iam_policy_document.topic[0].json
}

resource "aws_sns_topic_subscription" "trail" {
  count                = var.notification == "sns" ? 1 : 0
  topic_arn            = aws_sns_topic.trail[0].arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.trail.arn
  raw_message_delivery = true
}

resource "aws_cloudwatch_event_rule" "trail" {
  count       = var.notification == "eventbridge" ? 1 : 0
  name_prefix = "trailweave-"
  description = "Objects created in the trail's bucket"
  event_pattern = jsonencode({
    source        = ["aws.s3"]
    "detail-type" = ["Object Created"]
    detail        = { bucket = { name = [local.bucket] } }
  })
}

resource "aws_cloudwatch_event_target" "trail" {
  count = var.notification == "eventbridge" ? 1 : 0
  rule  = aws_cloudwatch_event_rule.trail[0].name
  arn   = aws_sqs_queue.trail.arn
}

resource "aws_s3_bucket_notification" "trail" {
  count       = var.create_bucket ? 1 : 0
  bucket      = aws_s3_bucket.trail[0].id
  eventbridge = var.notification == "eventbridge"
  dynamic "queue" {
    for_each = var.notification == "s3" ? [1] : []
    content {
      queue_arn = aws_sqs_queue.trail.arn
      events    = ["s3:ObjectCreated:*"]
    }
  }
  dynamic "topic" {
    for_each = var.notification == "sns" ? [1] : []
    content {
      topic_arn = aws_sns_topic.trail[0].arn
      events    = ["s3:ObjectCreated:*"]
    }
  }
  depends_on = [aws_sqs_queue_policy.trail, aws_sns_topic_policy.trail]
}

resource "aws_cloudtrail" "trail" {
  count                         = var.create_trail ? 1 : 0
  name                          = var.trail_name
  s3_bucket_name                = local.bucket
  enable_logging                = true
  is_multi_region_trail         = true
  include_global_service_events = true
  is_organization_trail         = var.organization_id != ""
  enable_log_file_validation    = true
  kms_key_id                    = local.has_key ? local.key_arn : null

  event_selector {
    include_management_events = true
    read_write_type           = "All"
    dynamic "data_resource" {
      for_each = contains(["s3", "all"], var.data_events) ? [1] : []
      content {
        type   = "AWS::S3::Object"
        values = ["arn:${local.partition}:s3"]
      }
    }
    dynamic "data_resource" {
      for_each = contains(["lambda", "all"], var.data_events) ? [1] : []
      content {
        type   = "AWS::Lambda::Function"
        values = ["arn:${local.partition}:lambda"]
      }
    }
  }

  dynamic "insight_selector" {
    for_each = var.insight_events ? ["ApiCallRateInsight", "ApiErrorRateInsight"] : []
    content {
      insight_type = insight_selector.value
    }
  }

  depends_on = [aws_s3_bucket_policy.trail]
}

data "aws_iam_policy_document" "collector" {
  statement {
    sid       = "ReadMessages"
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"]
    resources = [aws_sqs_queue.trail.arn]
  }
  statement {
    sid       = "ReadObjects"
    actions   = ["s3:GetObject"]
    resources = ["${local.bucket_arn}/*"]
  }
  dynamic "statement" {
    for_each = local.has_key ? [1] : []
    content {
      sid       = "DecryptObjects"
      actions   = ["kms:Decrypt"]
      resources = [local.key_arn]
    }
  }
  dynamic "statement" {
    for_each = var.allow_replay ? [1] : []
    content {
      sid       = "ListBucket"
      actions   = ["s3:ListBucket"]
      resources = [local.bucket_arn]
    }
  }
  dynamic "statement" {
    for_each = var.allow_redrive ? [1] : []
    content {
      sid       = "TakeDeadLetters"
      actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
      resources = [aws_sqs_queue.dead.arn]
    }
  }
  dynamic "statement" {
    for_each = var.allow_redrive ? [1] : []
    content {
      sid       = "BringThemBack"
      actions   = ["sqs:SendMessage"]
      resources = [aws_sqs_queue.trail.arn]
    }
  }
  dynamic "statement" {
    for_each = var.output_bucket != "" ? [1] : []
    content {
      sid       = "WriteOutput"
      actions   = ["s3:PutObject", "s3:GetObject"]
      resources = ["${local.output_arn}/${var.output_prefix}/*"]
    }
  }
  dynamic "statement" {
    for_each = var.output_bucket != "" ? [1] : []
    content {
      sid       = "ListOutput"
      actions   = ["s3:ListBucket"]
      resources = [local.output_arn]
      condition {
        test     = "StringLike"
        variable = "s3:prefix"
        values   = ["${var.output_prefix}/*"]
      }
    }
  }
  dynamic "statement" {
    for_each = var.allow_compact && var.output_bucket != "" ? [1] : []
    content {
      sid       = "CompactOutput"
      actions   = ["s3:DeleteObject"]
      resources = ["${local.output_arn}/${var.output_prefix}/*"]
    }
  }
}

resource "aws_iam_policy" "collector" {
  name_prefix = "trailweave-"
  description = "What trailweave calls, and nothing else"
  policy      = data.aws_iam_policy_document.collector.json
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type = "AWS"
      identifiers = [
        var.trusted_principal != "" ? var.trusted_principal : "arn:${local.partition}:iam::${local.account}:root"
      ]
    }
    dynamic "condition" {
      for_each = var.external_id != "" ? [1] : []
      content {
        test     = "StringEquals"
        variable = "sts:ExternalId"
        values   = [var.external_id]
      }
    }
  }
}

resource "aws_iam_role" "collector" {
  count              = var.identity == "role" ? 1 : 0
  name_prefix        = "trailweave-"
  description        = "Assumed by trailweave"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy_attachment" "collector" {
  count      = var.identity == "role" ? 1 : 0
  role       = aws_iam_role.collector[0].name
  policy_arn = aws_iam_policy.collector.arn
}

resource "aws_iam_user" "collector" {
  count = var.identity == "user" ? 1 : 0
  name  = "trailweave-collector"
}

resource "aws_iam_user_policy_attachment" "collector" {
  count      = var.identity == "user" ? 1 : 0
  user       = aws_iam_user.collector[0].name
  policy_arn = aws_iam_policy.collector.arn
}
